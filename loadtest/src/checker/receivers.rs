//! How far each receiver has come in each channel.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::Law;

/// One receiver's way through one channel.
#[derive(Clone, Copy, Debug)]
struct Path {
    session: u64,
    /// The last seq of the contiguous run; `None`: the next event starts one.
    at: Option<u64>,
    /// The highest seq ever received, or declared as skipped.
    top: u64,
    /// The last seq before a removal.
    removed_at: Option<u64>,
    must_reach: u64,
    /// The first seq received, or skipped to.
    first: Option<u64>,
    must_start: Option<u64>,
}

const NEW: Path = Path {
    session: 0,
    at: None,
    top: 0,
    removed_at: None,
    must_reach: 0,
    first: None,
    must_start: None,
};

/// A law broken by a step, and the seq that stood before it.
pub(super) type Misstep = (Law, u64);

/// All receivers' cursors.
#[derive(Default, Debug)]
pub(super) struct Receivers {
    paths: HashMap<(u64, u64), Path, FixedState>,
}

impl Receivers {
    fn path(&mut self, receiver: u64, channel: u64) -> &mut Path {
        self.paths.entry((receiver, channel)).or_insert(NEW)
    }

    /// An event arrived.
    pub(super) fn receive(
        &mut self,
        receiver: u64,
        session: u64,
        channel: u64,
        seq: u64,
    ) -> Option<Misstep> {
        let path = self.path(receiver, channel);
        path.session = session;
        path.first.get_or_insert(seq);
        let at = path.at;
        path.at = Some(at.unwrap_or(0).max(seq));
        path.top = path.top.max(seq);
        if let Some(last) = path.removed_at.filter(|last| seq > *last) {
            return Some((Law::AfterRemoval, last));
        }
        match at {
            Some(at) if seq <= at => Some((Law::ReceiverRepeat, at)),
            Some(at) if seq > at + 1 => Some((Law::ReceiverHole, at)),
            _ => None,
        }
    }

    /// A session says that it has everything up to `cursor`.
    pub(super) fn resume(
        &mut self,
        receiver: u64,
        session: u64,
        channel: u64,
        cursor: u64,
    ) -> Option<Misstep> {
        let path = self.path(receiver, channel);
        path.session = session;
        // What it had before the run is not ours to judge.
        let first = path.at.is_none();
        let top = path.top;
        path.at = Some(cursor);
        path.top = top.max(cursor);
        // A device may have forgotten what it had, but cannot have what it was never given.
        (cursor > top && !first).then_some((Law::ReceiverHole, top))
    }

    /// The server said that events up to `to` do not come. How many seqs that are.
    pub(super) fn skip(&mut self, receiver: u64, channel: u64, to: u64) -> u64 {
        let path = self.path(receiver, channel);
        let at = path.at.unwrap_or(0);
        path.at = Some(at.max(to));
        path.top = path.top.max(to);
        path.first.get_or_insert(1);
        // Whoever was removed and is told where to go on from was added again.
        path.removed_at = None;
        to.saturating_sub(at)
    }

    /// The receiver is out; `last` was its last event.
    pub(super) fn remove(&mut self, receiver: u64, channel: u64, last: u64) -> Option<Misstep> {
        let path = self.path(receiver, channel);
        path.removed_at = Some(last);
        (path.top > last).then_some((Law::AfterRemoval, last))
    }

    /// The receiver must be given this event, or an earlier one, first.
    pub(super) fn must_start(&mut self, receiver: u64, channel: u64, from: u64) {
        let path = self.path(receiver, channel);
        path.must_start = Some(path.must_start.map_or(from, |earlier| earlier.min(from)));
    }

    /// (receiver, session, channel, where it began, where it should have) of those that began late.
    pub(super) fn late(&self) -> Vec<(u64, u64, u64, u64, u64)> {
        let late = self.paths.iter().filter_map(|((receiver, channel), path)| {
            let (first, must) = (path.first?, path.must_start?);
            (first > must).then_some((*receiver, path.session, *channel, first, must))
        });
        let mut late: Vec<_> = late.collect();
        late.sort_unstable();
        late
    }

    /// The receiver must come this far.
    pub(super) fn must_reach(&mut self, receiver: u64, channel: u64, seq: u64) {
        let path = self.path(receiver, channel);
        path.must_reach = path.must_reach.max(seq);
    }

    /// (receiver, session, channel, where it is, where it should be) of those that fell short.
    pub(super) fn short(&self) -> Vec<(u64, u64, u64, u64, u64)> {
        let mut short: Vec<_> = self
            .paths
            .iter()
            .filter(|(_, path)| path.at.unwrap_or(0) < path.must_reach)
            .map(|((receiver, channel), path)| {
                (*receiver, path.session, *channel, path.at.unwrap_or(0), path.must_reach)
            })
            .collect();
        short.sort_unstable();
        short
    }
}
