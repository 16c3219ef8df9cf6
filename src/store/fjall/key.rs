//! Keys of the history store: byte order is reading order.
//!
//! ```text
//! event   | channel u64 BE | seq u64 BE |                16 bytes, stored inline by the engine
//! part    | channel u64 BE | seq u64 BE | part u16 BE |  18 bytes, inline; parts count from 1
//! head    | channel u64 BE |
//! key     | channel u64 BE | key 16, time first | user u64 BE |
//! feed    | group u64 BE   | part u16 BE |               parts count from 0
//! last    | 0 |                                          one in every keyspace, before all else
//! ```
//!
//! Everything of a channel is one contiguous range, oldest first, so a page is a
//! bounded scan, and the newest page starts at the end of the range.

use damso_proto::id::{ChannelNo, Key, Seq, UserNo};

/// Key of the row in which each keyspace keeps the last commit group. No other key is one byte long.
pub(super) const LAST_GROUP: [u8; 1] = [0];

/// Key of an event.
pub(super) fn event(channel: ChannelNo, seq: Seq) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&channel.get().to_be_bytes());
    bytes[8..].copy_from_slice(&seq.get().to_be_bytes());
    bytes
}

/// The seq in an event's key. `None`: not a key of an event.
pub(super) fn event_seq(stored: &[u8]) -> Option<Seq> {
    let seq = stored.get(8..)?.try_into().ok()?;
    Some(Seq::new(u64::from_be_bytes(seq)))
}

/// Key of a later part of an event's body.
pub(super) fn part(channel: ChannelNo, seq: Seq, part: u16) -> [u8; 18] {
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&event(channel, seq));
    bytes[16..].copy_from_slice(&part.to_be_bytes());
    bytes
}

/// Key of a channel's head.
pub(super) fn head(channel: ChannelNo) -> [u8; 8] {
    channel.get().to_be_bytes()
}

/// Key of a remembered idempotency key.
pub(super) fn idempotency(channel: ChannelNo, key: Key, user: UserNo) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&channel.get().to_be_bytes());
    bytes[8..24].copy_from_slice(key.as_bytes());
    bytes[24..].copy_from_slice(&user.get().to_be_bytes());
    bytes
}

/// The range of a channel's keys made at `from_ms` or later.
pub(super) fn idempotency_from(channel: ChannelNo, from_ms: u64) -> ([u8; 32], [u8; 32]) {
    let mut last = [0xff; 32];
    last[..8].copy_from_slice(&channel.get().to_be_bytes());
    // 48 bits of milliseconds: a later horizon than that has no keys behind it.
    let first_key = Key::new(from_ms.min((1 << 48) - 1), [0; 10]);
    (idempotency(channel, first_key, UserNo::new(0)), last)
}

/// What [`idempotency`] was made of. `None`: not such a key.
pub(super) fn parse_idempotency(stored: &[u8]) -> Option<(Key, UserNo)> {
    let key = Key::parse(stored.get(8..24)?)?;
    let user = stored.get(24..)?.try_into().ok()?;
    Some((key, UserNo::new(u64::from_be_bytes(user))))
}

/// Key of a part of a feed row.
pub(super) fn feed(group: u64, part: u16) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&group.to_be_bytes());
    bytes[8..].copy_from_slice(&part.to_be_bytes());
    bytes
}

/// The group in a feed key. `None`: not such a key.
pub(super) fn feed_group(stored: &[u8]) -> Option<u64> {
    let bytes: [u8; 10] = stored.try_into().ok()?;
    let (group, _part) = bytes.split_first_chunk::<8>()?;
    Some(u64::from_be_bytes(*group))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNELS: [u64; 4] = [0, 255, 256, u64::MAX];

    #[test]
    fn byte_order_is_channel_then_seq_then_part() {
        let mut rising = Vec::new();
        for channel in CHANNELS.map(ChannelNo::new) {
            for seq in [0, 1, 255, 256, u64::MAX].map(Seq::new) {
                rising.push(event(channel, seq).to_vec());
                rising.extend([1, 255, 256].map(|at| part(channel, seq, at).to_vec()));
            }
        }
        assert!(rising.is_sorted());
        assert!(rising.iter().all(|key| key[..] > LAST_GROUP[..]));
    }

    #[test]
    fn a_channels_keys_are_one_range_in_order_of_time() {
        for channel in CHANNELS.map(ChannelNo::new) {
            let (first, last) = idempotency_from(channel, 1_000);
            let of = |ms| idempotency(channel, Key::new(ms, [0xff; 10]), UserNo::new(u64::MAX));
            assert!(of(999) < first && first < of(1_000) && of(1_000) < of(1_001));
            assert!(of((1 << 48) - 1) < last);
            for other in CHANNELS.map(ChannelNo::new).into_iter().filter(|other| *other != channel)
            {
                let key = idempotency(other, Key::new(2_000, [7; 10]), UserNo::new(7));
                assert!(!(first..=last).contains(&key), "{channel} holds a key of {other}");
            }
        }
    }

    #[test]
    fn a_stored_key_comes_back_and_nothing_else_does() {
        let (key, user) = (Key::new(7, [9; 10]), UserNo::new(3));
        let stored = idempotency(ChannelNo::new(4), key, user);
        assert_eq!(parse_idempotency(&stored), Some((key, user)));
        assert_eq!(event_seq(&event(ChannelNo::new(4), Seq::new(9))), Some(Seq::new(9)));
        assert_eq!(feed_group(&feed(9, 3)), Some(9));
        for foreign in [&[][..], &LAST_GROUP, &[0; 9], &[0; 15], &[0; 33]] {
            assert_eq!(parse_idempotency(foreign), None, "{foreign:?}");
            assert_eq!(event_seq(foreign), None, "{foreign:?}");
            assert_eq!(feed_group(foreign), None, "{foreign:?}");
        }
    }
}
