//! The small rows beside the events, each closed by a CRC32C over its key and all before it.
//!
//! ```text
//! head   version u8 = 1 | seq | id | ordinal | floor | epoch | epoch's first seq, u64 LE each | crc
//! key    version u8 = 1 | seq u64 LE | id u64 LE | hash of the request's body u64 LE | crc
//! feed   version u8 = 1 | parts u16 LE | ranges: channel, first seq, last seq, u64 LE each | crc
//! last   version u8 = 1 | group u64 LE | high-water id u64 LE | crc
//! ```
//!
//! A feed row of a large group is cut into parts of at most 128 ranges; each says
//! how many parts there are.

use bytes::BufMut;
use damso_proto::id::{ChannelNo, Epoch, MessageId, Ordinal, Seq};

use super::record::{u32_at, u64_at};
use crate::store::log::{BodyHash, Head};

const VERSION: u8 = 1;
const CRC_LEN: usize = 4;
const RANGE_LEN: usize = 24;

/// Most ranges in one part of a feed row.
pub(super) const FEED_PART_RANGES: usize = 128;

/// A channel with its first and last seq.
pub(super) type SeqRange = (ChannelNo, Seq, Seq);

fn start() -> Vec<u8> {
    let mut row = Vec::with_capacity(64);
    row.put_u8(VERSION);
    row
}

fn close(key: &[u8], mut row: Vec<u8>) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &row);
    row.put_u32_le(crc);
    row
}

/// What stands between version and checksum. `None`: damaged.
fn open<'a>(key: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
    let at = row.len().checked_sub(CRC_LEN)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &row[..at]);
    let intact = u32_at(row, at)? == crc && row.first() == Some(&VERSION);
    intact.then(|| row.get(1..at)).flatten()
}

pub(super) fn encode_head(key: &[u8], head: &Head) -> Vec<u8> {
    let mut row = start();
    for number in [
        head.seq.get(),
        head.id.get(),
        head.ordinal.get(),
        head.floor.get(),
        head.epoch.get(),
        head.epoch_first.get(),
    ] {
        row.put_u64_le(number);
    }
    close(key, row)
}

pub(super) fn decode_head(key: &[u8], row: &[u8]) -> Option<Head> {
    let fields = open(key, row)?;
    let whole = fields.len() == 48;
    let number = |at: usize| u64_at(fields, at * 8);
    let head = Head {
        seq: Seq::new(number(0)?),
        id: MessageId::new(number(1)?),
        ordinal: Ordinal::new(number(2)?),
        floor: Seq::new(number(3)?),
        epoch: Epoch::new(number(4)?),
        epoch_first: Seq::new(number(5)?),
    };
    whole.then_some(head)
}

pub(super) fn encode_key(key: &[u8], seq: Seq, id: MessageId, body: BodyHash) -> Vec<u8> {
    let mut row = start();
    for number in [seq.get(), id.get(), body.0] {
        row.put_u64_le(number);
    }
    close(key, row)
}

pub(super) fn decode_key(key: &[u8], row: &[u8]) -> Option<(Seq, MessageId, BodyHash)> {
    let fields = open(key, row)?;
    let whole = fields.len() == 24;
    let (seq, id, body) = (u64_at(fields, 0)?, u64_at(fields, 8)?, u64_at(fields, 16)?);
    whole.then_some((Seq::new(seq), MessageId::new(id), BodyHash(body)))
}

pub(super) fn encode_feed(key: &[u8], parts: u16, ranges: &[SeqRange]) -> Vec<u8> {
    let mut row = Vec::with_capacity(8 + ranges.len() * RANGE_LEN);
    row.put_u8(VERSION);
    row.put_u16_le(parts);
    for (channel, first, last) in ranges {
        row.put_u64_le(channel.get());
        row.put_u64_le(first.get());
        row.put_u64_le(last.get());
    }
    close(key, row)
}

pub(super) fn decode_feed(key: &[u8], row: &[u8]) -> Option<(u16, Vec<SeqRange>)> {
    let (parts, ranges) = open(key, row)?.split_first_chunk::<2>()?;
    let range = |range: &[u8]| -> Option<SeqRange> {
        let (channel, first, last) = (u64_at(range, 0)?, u64_at(range, 8)?, u64_at(range, 16)?);
        Some((ChannelNo::new(channel), Seq::new(first), Seq::new(last)))
    };
    let ranges = ranges.chunks(RANGE_LEN).map(range).collect::<Option<_>>()?;
    Some((u16::from_le_bytes(*parts), ranges))
}

/// The last commit group, as each keyspace and the watermark know it.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct LastGroup {
    /// Its number, the position in the feed; 0 before the first.
    pub(super) number: u64,
    /// The largest id up to it.
    pub(super) high_water: MessageId,
}

pub(super) fn encode_last(key: &[u8], last: LastGroup) -> Vec<u8> {
    let mut row = start();
    row.put_u64_le(last.number);
    row.put_u64_le(last.high_water.get());
    close(key, row)
}

pub(super) fn decode_last(key: &[u8], row: &[u8]) -> Option<LastGroup> {
    let fields = open(key, row)?;
    let whole = fields.len() == 16;
    let last =
        LastGroup { number: u64_at(fields, 0)?, high_water: MessageId::new(u64_at(fields, 8)?) };
    whole.then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row is read back under its own key, and not at all once a bit has changed.
    fn check<T: PartialEq + std::fmt::Debug>(
        row: &[u8],
        written: &T,
        decode: impl Fn(&[u8], &[u8]) -> Option<T>,
    ) {
        assert_eq!(decode(b"key", row).as_ref(), Some(written));
        assert_eq!(decode(b"other", row), None);
        for bit in 0..row.len() * 8 {
            let mut damaged = row.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(b"key", &damaged), None, "bit {bit}");
        }
        for len in 0..row.len() {
            assert_eq!(decode(b"key", &row[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn every_row_comes_back_and_damage_is_noticed() {
        let (seq, id) = (Seq::new(7), MessageId::new(70));
        let head = Head { seq, id, ordinal: Ordinal::new(3), epoch: Epoch::new(2), ..Head::EMPTY };
        check(&encode_head(b"key", &head), &head, decode_head);
        check(&encode_key(b"key", seq, id, BodyHash(9)), &(seq, id, BodyHash(9)), decode_key);
        let last = LastGroup { number: 5, high_water: id };
        check(&encode_last(b"key", last), &last, decode_last);
        for len in [0, 1, 3] {
            let ranges = vec![(ChannelNo::new(4), seq, Seq::new(8)); len];
            check(&encode_feed(b"key", 2, &ranges), &(2, ranges), decode_feed);
        }
    }

    #[test]
    fn a_full_part_of_a_feed_row_stays_small() {
        let ranges = [(ChannelNo::new(4), Seq::new(1), Seq::new(2)); FEED_PART_RANGES];
        assert!(encode_feed(b"key", 1, &ranges).len() < 3_500);
    }
}
