//! Reading: heads, pages, keys and the feed, each through a snapshot.
//!
//! A plain scan of the engine can see half of a batch; a snapshot cannot.

use bytes::Bytes;
use damso_proto::id::{ChannelNo, Key, Seq, UserNo};
use fjall::{Guard, Readable, Snapshot};

use super::key;
use super::options::{DAMAGE_PROBES_MAX, OPEN_KEYS_MAX};
use super::record;
use super::row;
use super::schema::Tables;
use crate::store::log::{
    FeedPosition, FeedRow, Head, KeyRow, NewKey, Opened, Order, Range, StoreError, StoredEvent,
};

/// The head of a channel. The whole channel counts as damaged if it cannot be decoded.
pub(super) fn head(
    tables: &Tables,
    snapshot: &Snapshot,
    channel: ChannelNo,
) -> Result<Head, StoreError> {
    let key = key::head(channel);
    let damaged = || StoreError::Damaged { channel, from: Seq::new(1), to: Seq::MAX };
    match snapshot.get(&tables.heads, key) {
        Ok(None) => Ok(Head::EMPTY),
        Ok(Some(row)) => row::decode_head(&key, &row).ok_or_else(damaged),
        Err(why) => Err(failed("read a head", why).unwrap_or_else(damaged)),
    }
}

/// What an owner needs: the head, checked against the last event, and the newest keys.
pub(super) fn open(
    tables: &Tables,
    channel: ChannelNo,
    keys_from_ms: u64,
) -> Result<Opened, StoreError> {
    let snapshot = tables.snapshot();
    let head = head(tables, &snapshot, channel)?;
    if head.seq != Seq::ZERO {
        let last = event(tables, &snapshot, channel, head.seq)?;
        if last.is_none_or(|last| last.id != head.id || last.ordinal != head.ordinal) {
            return Err(StoreError::Damaged { channel, from: head.seq, to: head.seq });
        }
    }
    let (keys, keys_from_ms) = keys(tables, &snapshot, channel, keys_from_ms)?;
    Ok(Opened { head, keys, keys_from_ms })
}

/// Keys from the horizon on, oldest first; the horizon moves forward where they are too many.
fn keys(
    tables: &Tables,
    snapshot: &Snapshot,
    channel: ChannelNo,
    mut from_ms: u64,
) -> Result<(Vec<KeyRow>, u64), StoreError> {
    let (first, last) = key::idempotency_from(channel, from_ms);
    let mut rows = Vec::new();
    for guard in snapshot.range(&tables.keys, first..=last).rev() {
        let (key, row) = guard.into_inner().map_err(unreadable("read the keys of a channel"))?;
        let row = key_row(&key, &row).ok_or_else(|| damaged_row("key", channel))?;
        if rows.len() >= OPEN_KEYS_MAX {
            from_ms = row.key.key.unix_ms() + 1;
            rows.retain(|row: &KeyRow| row.key.key.unix_ms() >= from_ms);
            break;
        }
        rows.push(row);
    }
    rows.reverse();
    Ok((rows, from_ms))
}

fn key_row(stored: &[u8], row: &[u8]) -> Option<KeyRow> {
    let (key, user) = key::parse_idempotency(stored)?;
    let (seq, id, body) = row::decode_key(stored, row)?;
    Some(KeyRow { key: NewKey { user, key, body }, seq, id })
}

/// Looks a key up, however old.
pub(super) fn find_key(
    tables: &Tables,
    channel: ChannelNo,
    user: UserNo,
    key: Key,
) -> Result<Option<KeyRow>, StoreError> {
    let stored = key::idempotency(channel, key, user);
    let row = tables.snapshot().get(&tables.keys, stored).map_err(unreadable("look a key up"))?;
    let decode =
        |row: fjall::Slice| key_row(&stored, &row).ok_or_else(|| damaged_row("key", channel));
    row.map(decode).transpose()
}

/// One event. `None`: absent or damaged.
fn event(
    tables: &Tables,
    snapshot: &Snapshot,
    channel: ChannelNo,
    seq: Seq,
) -> Result<Option<StoredEvent>, StoreError> {
    let row = snapshot.get(&tables.events, key::event(channel, seq));
    match present(row.map_err(|why| failed("read an event", why)))?.flatten() {
        Some(row) => decode(tables, snapshot, channel, seq, &row),
        None => Ok(None),
    }
}

fn decode(
    tables: &Tables,
    snapshot: &Snapshot,
    channel: ChannelNo,
    seq: Seq,
    row: &[u8],
) -> Result<Option<StoredEvent>, StoreError> {
    record::decode(channel, seq, row, |number| {
        let part = snapshot.get(&tables.parts, key::part(channel, seq, number));
        let part = present(part.map_err(|why| failed("read a part of an event", why)))?.flatten();
        Ok(part.map(|part| Bytes::copy_from_slice(&part)))
    })
}

/// A page of events, oldest first. It ends before damage; a page that begins with it is an error.
pub(super) fn page(
    tables: &Tables,
    channel: ChannelNo,
    range: Range,
) -> Result<Vec<StoredEvent>, StoreError> {
    let snapshot = tables.snapshot();
    let head = head(tables, &snapshot, channel)?;
    let from = range.from.max(head.floor).max(Seq::new(1));
    let to = range.to.min(head.seq);
    if from > to {
        return Ok(Vec::new());
    }
    let keys = key::event(channel, from)..=key::event(channel, to);
    let rows = snapshot.range(&tables.events, keys);
    let page = Page { tables, snapshot: &snapshot, channel, range };
    match range.order {
        Order::Rising => page.fill(rows, (from.get()..=to.get()).map(Seq::new)),
        Order::Falling => {
            let mut events = page.fill(rows.rev(), (from.get()..=to.get()).rev().map(Seq::new))?;
            events.reverse();
            Ok(events)
        }
    }
}

struct Page<'a> {
    tables: &'a Tables,
    snapshot: &'a Snapshot,
    channel: ChannelNo,
    range: Range,
}

impl Page<'_> {
    /// Reads rows in the order of `seqs`, which they must match without a gap.
    ///
    /// The engine's scan looks one row ahead, so damage takes the intact row before it along:
    /// from the first row that fails, rows are read one by one.
    fn fill(
        &self,
        mut rows: impl Iterator<Item = Guard>,
        mut seqs: impl Iterator<Item = Seq>,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let mut events = Vec::with_capacity(self.range.rows_max.min(128));
        let mut bytes_left = self.range.bytes_max;
        let mut scanning = true;
        while let Some(seq) = seqs.next() {
            let mut event = if scanning { self.next(rows.next(), seq)? } else { None };
            if event.is_none() {
                scanning = false;
                event = self::event(self.tables, self.snapshot, self.channel, seq)?;
            }
            let Some(event) = event else {
                if events.is_empty() {
                    return Err(self.damaged(seq, seqs)?);
                }
                break;
            };
            if !events.is_empty() && event.event.len() > bytes_left {
                break;
            }
            bytes_left = bytes_left.saturating_sub(event.event.len());
            events.push(event);
            if events.len() >= self.range.rows_max {
                break;
            }
        }
        Ok(events)
    }

    /// The event that must be at `seq`. `None`: it is not, or is damaged.
    fn next(&self, row: Option<Guard>, seq: Seq) -> Result<Option<StoredEvent>, StoreError> {
        let Some(row) = row else { return Ok(None) };
        let row = row.into_inner().map_err(|why| failed("read a page of events", why));
        match present(row)? {
            Some((key, row)) if key::event_seq(&key) == Some(seq) => {
                decode(self.tables, self.snapshot, self.channel, seq, &row)
            }
            _ => Ok(None),
        }
    }

    /// How far the damage goes that begins at `first`, in the direction of `rest`.
    fn damaged(
        &self,
        first: Seq,
        rest: impl Iterator<Item = Seq>,
    ) -> Result<StoreError, StoreError> {
        let mut last = first;
        for seq in rest.take(usize::try_from(DAMAGE_PROBES_MAX).unwrap_or(usize::MAX)) {
            if event(self.tables, self.snapshot, self.channel, seq)?.is_some() {
                break;
            }
            last = seq;
        }
        let (from, to) = (first.min(last), first.max(last));
        Ok(StoreError::Damaged { channel: self.channel, from, to })
    }
}

/// Rows of the feed from group `from` on. `base` is added to a group's number.
pub(super) fn feed(
    tables: &Tables,
    base: u64,
    from: u64,
    rows_max: usize,
) -> Result<Vec<FeedRow>, StoreError> {
    let snapshot = tables.snapshot();
    let keys = key::feed(from.max(1), 0)..=key::feed(u64::MAX, u16::MAX);
    let mut guards = snapshot.range(&tables.feed, keys);
    let mut rows = Vec::new();
    let mut next = || -> Result<Option<(u64, u16, Vec<row::SeqRange>)>, StoreError> {
        let Some(guard) = guards.next() else { return Ok(None) };
        let (key, row) = guard.into_inner().map_err(unreadable("read the feed"))?;
        let decoded = key::feed_group(&key).zip(row::decode_feed(&key, &row));
        let (group, (parts, ranges)) = decoded.ok_or_else(|| damaged_row("feed", from))?;
        Ok(Some((group, parts, ranges)))
    };
    while rows.len() < rows_max {
        let Some((group, parts, mut ranges)) = next()? else { break };
        for _ in 1..parts {
            match next()? {
                Some((same, _, more)) if same == group => ranges.extend(more),
                _ => return Err(damaged_row("feed", group)),
            }
        }
        rows.push(FeedRow { position: FeedPosition(base + group), ranges });
    }
    Ok(rows)
}

/// What could not be read for now. `None`: what is stored there is damaged.
fn failed(action: &str, why: fjall::Error) -> Option<StoreError> {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    match why {
        fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source))
            if !matches!(source.kind(), InvalidData | UnexpectedEof) =>
        {
            Some(StoreError::Io { action: action.to_owned(), source })
        }
        _ => None,
    }
}

/// `Ok(None)` for what is damaged.
fn present<T>(read: Result<T, Option<StoreError>>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(None) => Ok(None),
        Err(Some(why)) => Err(why),
    }
}

fn unreadable(action: &'static str) -> impl Fn(fjall::Error) -> StoreError {
    move |why| {
        let source = std::io::Error::other(why);
        StoreError::Io { action: action.to_owned(), source }
    }
}

fn damaged_row(what: &str, of: impl std::fmt::Display) -> StoreError {
    let action = format!("read a {what} row of {of}");
    StoreError::Io { action, source: std::io::Error::other("it is damaged") }
}
