//! The watermark: a small file that knows, apart from the database, how far it was durable.
//!
//! ```text
//! slot 0 at byte 0, slot 1 at byte 4096; written in turn, the higher valid one counts
//!
//!  0  magic "damsoWM1"
//!  8  group u64 LE          last durable commit group
//! 16  high-water u64 LE     largest id up to it
//! 24  crc u32 LE            CRC32C of bytes 0-23
//! ```
//!
//! The engine drops everything behind a damaged journal page without a word. A database
//! that opens with less than its watermark has lost acknowledged groups.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::BufMut;
use damso_proto::id::MessageId;

use super::record::{u32_at, u64_at};
use super::row::LastGroup;

const MAGIC: &[u8; 8] = b"damsoWM1";
const SLOT_AT: [u64; 2] = [0, 4_096];
const SLOT_LEN: usize = 28;
const FILE_LEN: u64 = 8_192;

/// The open file.
#[derive(Debug)]
pub(super) struct Watermark {
    file: File,
    next_slot: usize,
}

impl Watermark {
    /// Makes the file with both slots at the beginning of history.
    pub(super) fn create(path: &Path) -> io::Result<()> {
        let file = File::create_new(path)?;
        file.set_len(FILE_LEN)?;
        for at in SLOT_AT {
            file.write_all_at(&encode(LastGroup::default()), at)?;
        }
        file.sync_all()
    }

    /// Opens the file. `None` beside it: neither slot is valid.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Option<LastGroup>)> {
        let file = File::options().read(true).write(true).open(path)?;
        let slots = SLOT_AT.map(|at| read(&file, at));
        let (newest, last) = match slots {
            [Some(first), Some(second)] if first.number < second.number => (1, Some(second)),
            [Some(first), _] => (0, Some(first)),
            [None, second] => (1, second),
        };
        Ok((Self { file, next_slot: 1 - newest }, last))
    }

    /// Makes `last` durable, over the older slot.
    pub(super) fn write(&mut self, last: LastGroup) -> io::Result<()> {
        self.file.write_all_at(&encode(last), SLOT_AT[self.next_slot])?;
        self.file.sync_data()?;
        self.next_slot = 1 - self.next_slot;
        Ok(())
    }
}

fn encode(last: LastGroup) -> Vec<u8> {
    let mut slot = Vec::with_capacity(SLOT_LEN);
    slot.put_slice(MAGIC);
    slot.put_u64_le(last.number);
    slot.put_u64_le(last.high_water.get());
    let crc = crc32c::crc32c(&slot);
    slot.put_u32_le(crc);
    slot
}

fn read(file: &File, at: u64) -> Option<LastGroup> {
    let mut slot = [0; SLOT_LEN];
    file.read_exact_at(&mut slot, at).ok()?;
    let intact = slot.starts_with(MAGIC) && u32_at(&slot, 24)? == crc32c::crc32c(&slot[..24]);
    let last =
        LastGroup { number: u64_at(&slot, 8)?, high_water: MessageId::new(u64_at(&slot, 16)?) };
    intact.then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last(number: u64) -> LastGroup {
        LastGroup { number, high_water: MessageId::new(number * 10) }
    }

    #[test]
    fn the_newest_write_counts_after_any_number_of_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        Watermark::create(&path).unwrap();
        assert_eq!(Watermark::open(&path).unwrap().1, Some(last(0)));
        for number in 1..6 {
            let (mut watermark, _) = Watermark::open(&path).unwrap();
            watermark.write(last(number)).unwrap();
            assert_eq!(Watermark::open(&path).unwrap().1, Some(last(number)));
        }
    }

    #[test]
    fn a_torn_write_leaves_the_one_before_and_zeroes_are_no_watermark() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        Watermark::create(&path).unwrap();
        let (mut watermark, _) = Watermark::open(&path).unwrap();
        for number in 1..=4 {
            watermark.write(last(number)).unwrap();
        }
        // Slot 1 holds 3, slot 0 holds 4: the first write went to slot 1.
        watermark.file.write_all_at(&[0; 13], SLOT_AT[0]).unwrap();
        assert_eq!(Watermark::open(&path).unwrap().1, Some(last(3)));
        watermark.file.write_all_at(&[0; 1], SLOT_AT[1]).unwrap();
        assert_eq!(Watermark::open(&path).unwrap().1, None);
    }

    #[test]
    fn the_next_write_spares_the_newest_slot() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watermark");
        Watermark::create(&path).unwrap();
        for number in 1..4 {
            let (mut watermark, before) = Watermark::open(&path).unwrap();
            let newest = SLOT_AT[1 - watermark.next_slot];
            assert_eq!(read(&watermark.file, newest), before);
            watermark.write(last(number)).unwrap();
        }
    }
}
