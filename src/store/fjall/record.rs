//! An event as bytes on disk.
//!
//! ```text
//!  0  version u8 = 1
//!  1  flags u8         1 has a key | 2 goes on in part rows
//!  2  key id u16 LE    of the encryption key; 0: not encrypted, the only value so far
//!  4  crc u32 LE       CRC32C over channel, seq, bytes 0-3, and all from 8 on, part rows included
//!  8  id u64 LE
//! 16  ordinal u64 LE
//! 24  body length u32 LE, part rows included
//! 28  user u64 LE | key 16 | hash of the request's body u64 LE      only with flag 1
//!  .  body, at most 3,072 bytes of it
//!
//! part row: the next at most 3,072 bytes of the body
//! ```
//!
//! Rows stay under 3.5 KB: the engine compresses larger ones in its journal, and a
//! page torn within one row would keep the whole store from opening.

use bytes::{BufMut, Bytes, BytesMut};
use damso_proto::id::{ChannelNo, Key, MessageId, Ordinal, Seq, UserNo};

use crate::store::log::{BodyHash, NewEvent, NewKey, StoredEvent};

const VERSION: u8 = 1;
const HAS_KEY: u8 = 1;
const HAS_PARTS: u8 = 2;
const HEADER_LEN: usize = 28;
const KEY_LEN: usize = 32;

/// Most bytes of a body in one row.
pub(super) const PART_BYTES: usize = 3_072;

/// Writes the event's own row.
pub(super) fn encode(channel: ChannelNo, ordinal: Ordinal, event: &NewEvent) -> Vec<u8> {
    let body = event.encoded.event();
    let (here, rest) = body.split_at(body.len().min(PART_BYTES));
    let mut flags = 0;
    flags |= if event.key.is_some() { HAS_KEY } else { 0 };
    flags |= if rest.is_empty() { 0 } else { HAS_PARTS };
    let mut row = Vec::with_capacity(HEADER_LEN + KEY_LEN + here.len());
    row.put_slice(&[VERSION, flags, 0, 0]);
    row.put_u32_le(0);
    row.put_u64_le(event.id.get());
    row.put_u64_le(ordinal.get());
    row.put_u32_le(u32::try_from(body.len()).unwrap_or(u32::MAX));
    if let Some(key) = event.key {
        row.put_u64_le(key.user.get());
        row.put_slice(key.key.as_bytes());
        row.put_u64_le(key.body.0);
    }
    row.put_slice(here);
    let crc = crc32c::crc32c_append(checksum(channel, event.seq, &row), rest);
    row[4..8].copy_from_slice(&crc.to_le_bytes());
    row
}

/// The rest of the body as part rows, numbered from 1.
pub(super) fn parts(event: &NewEvent) -> impl Iterator<Item = (u16, &[u8])> {
    (1..).zip(event.encoded.event().chunks(PART_BYTES).skip(1))
}

fn checksum(channel: ChannelNo, seq: Seq, row: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&channel.get().to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &seq.get().to_le_bytes());
    let crc = crc32c::crc32c_append(crc, row.get(..4).unwrap_or_default());
    crc32c::crc32c_append(crc, row.get(8..).unwrap_or_default())
}

/// Reads an event back; `part` fetches a part row. `Ok(None)`: damaged.
///
/// # Errors
/// What `part` fails with.
pub(super) fn decode<E>(
    channel: ChannelNo,
    seq: Seq,
    row: &[u8],
    mut part: impl FnMut(u16) -> Result<Option<Bytes>, E>,
) -> Result<Option<StoredEvent>, E> {
    let Some(header) = Header::parse(row) else { return Ok(None) };
    let mut crc = checksum(channel, seq, row);
    let event = if header.flags & HAS_PARTS == 0 {
        Bytes::copy_from_slice(header.here)
    } else {
        let mut body = BytesMut::from(header.here);
        let mut number = 1;
        while body.len() < header.body_len {
            let Some(more) = part(number)? else { return Ok(None) };
            if more.is_empty() || more.len() > PART_BYTES {
                return Ok(None);
            }
            crc = crc32c::crc32c_append(crc, &more);
            body.extend_from_slice(&more);
            let Some(next) = number.checked_add(1) else { return Ok(None) };
            number = next;
        }
        body.freeze()
    };
    let intact = crc == header.crc && event.len() == header.body_len;
    let Header { id, ordinal, key, .. } = header;
    Ok(intact.then_some(StoredEvent { seq, id, ordinal, key, event }))
}

struct Header<'a> {
    flags: u8,
    crc: u32,
    id: MessageId,
    ordinal: Ordinal,
    body_len: usize,
    key: Option<NewKey>,
    here: &'a [u8],
}

impl<'a> Header<'a> {
    fn parse(row: &'a [u8]) -> Option<Self> {
        let (header, mut here) = row.split_first_chunk::<HEADER_LEN>()?;
        let flags = header[1];
        if header[0] != VERSION || flags & !(HAS_KEY | HAS_PARTS) != 0 || header[2..4] != [0, 0] {
            return None;
        }
        let mut key = None;
        if flags & HAS_KEY != 0 {
            let (row, rest) = here.split_first_chunk::<KEY_LEN>()?;
            here = rest;
            key = Some(NewKey {
                user: UserNo::new(u64_at(row, 0)?),
                key: Key::parse(row.get(8..24)?)?,
                body: BodyHash(u64_at(row, 24)?),
            });
        }
        Some(Self {
            flags,
            crc: u32_at(header, 4)?,
            id: MessageId::new(u64_at(header, 8)?),
            ordinal: Ordinal::new(u64_at(header, 16)?),
            body_len: usize::try_from(u32_at(header, 24)?).ok()?,
            key,
            here,
        })
    }
}

pub(super) fn u64_at(row: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(row.get(at..at + 8)?.try_into().ok()?))
}

pub(super) fn u32_at(row: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(row.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::store::contract::text_event;

    const CHANNEL: ChannelNo = ChannelNo::new(4);
    const ORDINAL: Ordinal = Ordinal::new(5);

    fn rows(event: &NewEvent) -> Vec<Vec<u8>> {
        let first = encode(CHANNEL, ORDINAL, event);
        [first].into_iter().chain(parts(event).map(|(_, part)| part.to_vec())).collect()
    }

    fn decode_rows(channel: ChannelNo, seq: Seq, rows: &[Vec<u8>]) -> Option<StoredEvent> {
        let part = |number: u16| {
            Ok::<_, Infallible>(rows.get(usize::from(number)).cloned().map(Bytes::from))
        };
        decode(channel, seq, &rows[0], part).unwrap_or_else(|never| match never {})
    }

    #[test]
    fn a_record_comes_back_and_its_rows_stay_small() {
        for len in [0, 1, 3_000, 3_060, 3_072, 9_000, 16_384, 65_000] {
            for keyed in [false, true] {
                let mut event = text_event(4, 9, &"x".repeat(len));
                if keyed {
                    event = event.keyed(7, 1_000, 1);
                }
                let rows = rows(&event);
                assert!(rows.iter().all(|row| row.len() < 3_500), "{len} bytes");
                let stored = decode_rows(CHANNEL, event.seq, &rows).unwrap();
                assert_eq!(stored.event, event.encoded.event());
                assert_eq!((stored.id, stored.key), (event.id, event.key));
                assert_eq!(stored.ordinal, ORDINAL);
            }
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed_also_in_a_part_row() {
        let event = text_event(4, 9, &"x".repeat(3_100)).keyed(7, 1_000, 1);
        let intact = rows(&event);
        assert_eq!(intact.len(), 2);
        for row in 0..intact.len() {
            for bit in 0..intact[row].len() * 8 {
                let mut damaged = intact.clone();
                damaged[row][bit / 8] ^= 1 << (bit % 8);
                let decoded = decode_rows(CHANNEL, event.seq, &damaged);
                assert_eq!(decoded, None, "bit {bit} of row {row}");
            }
        }
    }

    #[test]
    fn a_record_is_of_its_own_place_only() {
        let event = text_event(4, 9, "here");
        let rows = rows(&event);
        assert_eq!(decode_rows(ChannelNo::new(5), event.seq, &rows), None);
        assert_eq!(decode_rows(CHANNEL, Seq::new(10), &rows), None);
    }

    #[test]
    fn cut_rows_are_damaged_whatever_their_length() {
        let event = text_event(4, 9, &"x".repeat(4_000)).keyed(7, 1_000, 1);
        let intact = rows(&event);
        for len in 0..intact[0].len() {
            let cut = [intact[0][..len].to_vec(), intact[1].clone()];
            assert_eq!(decode_rows(CHANNEL, event.seq, &cut), None, "{len} bytes");
        }
        assert_eq!(decode_rows(CHANNEL, event.seq, &intact[..1]), None);
    }
}
