//! The engine's journal, read before the engine does: a torn end is cut off cleanly.
//!
//! ```text
//! batch  start | item, count times | end
//! start  1 | count u32 LE | seqno u64 LE
//! item   2 | value type u8 | compression u8 | keyspace u64 LE | key length u16 LE
//!          | value length u32 LE | stored length u32 LE | key | value as stored
//! clear  4 | keyspace u64 LE                        counts as an item
//! end    3 | XXH3 of all items u64 LE | "FJL" 3
//! ```
//!
//! Behind the last batch a journal is zeroes, or what a power cut left of a batch that was
//! never acknowledged. The engine discards the latter only where it happens to break at a
//! tag; elsewhere it refuses to open at all. Here whatever follows the last whole batch goes,
//! if no whole batch stands behind it; if one does, this is damage, and not ours to cut.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use xxhash_rust::xxh3::Xxh3;

const TRAILER: &[u8] = b"FJL\x03";
/// More items than a batch of ours can have: a count beyond it is no count.
const ITEMS_MAX: u32 = 1 << 20;

/// What stands behind the last whole batch of a journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Tail {
    /// Nothing but zeroes.
    Clean,
    /// Bytes of a batch that was never whole; whole batches end here.
    Torn(usize),
    /// A whole batch behind bytes that are none.
    Damaged,
}

/// Cuts the torn end off the journal that was written last.
pub(super) fn cut_torn_end(db: &Path) -> io::Result<Tail> {
    let mut newest: Option<(u64, std::path::PathBuf)> = None;
    for entry in fs::read_dir(db)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_suffix(".jnl")?.parse().ok());
        newest = newest.max(number.map(|number| (number, path)));
    }
    let Some((_, path)) = newest else { return Ok(Tail::Clean) };
    let tail = tail(&fs::read(&path)?);
    if let Tail::Torn(end) = tail {
        let file = File::options().write(true).open(&path)?;
        file.set_len(end as u64)?;
        file.sync_all()?;
    }
    Ok(tail)
}

fn tail(journal: &[u8]) -> Tail {
    let mut end = 0;
    while let Some(len) = batch_len(&journal[end..]) {
        end += len;
    }
    let rest = &journal[end..];
    let written = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if written == 0 {
        return Tail::Clean;
    }
    let behind = (1..written).any(|at| rest[at] == 1 && batch_len(&rest[at..]).is_some());
    if behind { Tail::Damaged } else { Tail::Torn(end) }
}

/// Length of the whole batch that the bytes begin with. `None`: they do not.
fn batch_len(bytes: &[u8]) -> Option<usize> {
    let mut reader = Reader { bytes, at: 0 };
    if reader.u8()? != 1 {
        return None;
    }
    let count = reader.u32().filter(|count| *count <= ITEMS_MAX)?;
    reader.skip(8)?;
    let items_at = reader.at;
    for _ in 0..count {
        reader.skip_item()?;
    }
    let mut hash = Xxh3::new();
    hash.update(bytes.get(items_at..reader.at)?);
    let intact = reader.u8()? == 3
        && reader.take(8)? == hash.digest().to_le_bytes()
        && reader.take(TRAILER.len())? == TRAILER;
    intact.then_some(reader.at)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(len)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn skip(&mut self, len: usize) -> Option<()> {
        self.take(len).map(|_| ())
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn skip_item(&mut self) -> Option<()> {
        match self.u8()? {
            2 => {
                self.skip(1 + 1 + 8)?;
                let key_len = u16::from_le_bytes(self.take(2)?.try_into().ok()?);
                self.skip(4)?;
                let stored_len = usize::try_from(self.u32()?).ok()?;
                self.skip(usize::from(key_len))?;
                self.skip(stored_len)
            }
            4 => self.skip(8),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the engine itself writes: `count` batches of two rows.
    fn written(count: u8) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let db = fjall::Database::builder(directory.path()).open().unwrap();
        let keyspace = db.keyspace("k", Default::default).unwrap();
        for number in 0..count {
            let mut batch = db.batch();
            batch.insert(&keyspace, [number; 16], vec![number; 200]);
            batch.remove(&keyspace, [number; 3]);
            batch.commit().unwrap();
        }
        let journal = fs::read(directory.path().join("0.jnl")).unwrap();
        let len = journal.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        journal[..len].to_vec()
    }

    #[test]
    fn what_the_engine_writes_is_understood_to_the_last_byte() {
        let journal = written(5);
        let (mut at, mut batches) = (0, 0);
        while let Some(len) = batch_len(&journal[at..]) {
            (at, batches) = (at + len, batches + 1);
        }
        assert_eq!((at, batches), (journal.len(), 5));
        assert_eq!(tail(&journal), Tail::Clean);
        assert_eq!(tail(&[]), Tail::Clean);
        assert_eq!(tail(&[0; 100]), Tail::Clean);
    }

    #[test]
    fn a_torn_last_batch_is_cut_wherever_it_breaks() {
        let (before, journal) = (written(4).len(), written(5));
        for end in before + 1..journal.len() {
            let mut torn = journal.clone();
            torn[end..].fill(0);
            torn.resize(journal.len() + 4_096, 0);
            // A batch whose last bytes are zeroes anyway is whole.
            let expected =
                if torn[..journal.len()] == journal[..] { Tail::Clean } else { Tail::Torn(before) };
            assert_eq!(tail(&torn), expected, "zeroes from byte {end} on");
            assert_eq!(tail(&journal[..end]), Tail::Torn(before), "cut at byte {end}");
        }
    }

    #[test]
    fn damage_before_a_whole_batch_is_not_cut() {
        let (before, journal) = (written(4).len(), written(5));
        for at in 0..before {
            let mut damaged = journal.clone();
            damaged[at] ^= 0x20;
            // The engine does not cover a batch's own number by its checksum.
            let tail = tail(&damaged);
            assert!(matches!(tail, Tail::Damaged | Tail::Clean), "byte {at}: {tail:?}");
        }
    }
}
