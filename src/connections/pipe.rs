//! One connection: its wire, its lanes, its memberships.
//!
//! ```text
//! control | answers, acks, pings | first in every record, whole before anything else follows
//! live    | the cursors of its memberships, in the channel logs
//! bulk    | one chunk            | only when control is empty and the socket has drained
//! ```

use std::cell::Cell;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use damso_proto::id::{ChannelNo, Seq};
use damso_proto::time::Moment;

use super::options::RECORD_BYTES_MAX;
use super::socket::Interest;
use super::thrift;
use super::wire::{Scratch, Wire, WireError};

/// A connection can be read, written, or both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ready {
    /// There are bytes, or the end.
    pub readable: bool,
    /// The socket takes bytes again.
    pub writable: bool,
}

/// The control lane holds as much as it may: whoever asks must first read.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("the answers that wait for this connection fill its lane")]
pub struct LaneFull;

/// A membership: index of the channel's log, and of the member in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Membership {
    pub(super) log: u32,
    pub(super) member: u32,
}

/// One connection.
pub(super) struct Pipe {
    pub(super) wire: Wire,
    pub(super) memberships: Vec<Membership>,
    pub(super) control: Vec<u8>,
    pub(super) bulk: Option<Box<Bulk>>,
    pub(super) stall: Option<Box<Stall>>,
    /// The task that reads: it must also wait for room in a socket that is full.
    waker: Cell<Option<Waker>>,
    pub(super) life: Life,
    pub(super) flags: Flags,
}

/// How far a connection is from its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Life {
    /// All lanes run.
    Open,
    /// Only what waits in the control lane is still written.
    Finishing,
    /// It failed; told at the end of the pass that met it.
    Broken,
    /// Nothing is written, and its shard was told.
    Over,
}

/// In which lists of the shard the pipe stands, and what it waits for.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Flags {
    pub(super) in_control: bool,
    pub(super) in_bulk: bool,
    pub(super) watched: bool,
    pub(super) bulk_in_flight: bool,
    pub(super) control_was_full: bool,
    /// The control lane may begin within a frame.
    pub(super) control_is_cut: bool,
    /// Its last words are written, and its wire was ended behind them.
    pub(super) finished: bool,
}

/// A chunk of replay or pages.
pub(super) struct Bulk {
    pub(super) bytes: Bytes,
    pub(super) then: Vec<(ChannelNo, Seq)>,
}

/// A full socket.
pub(super) struct Stall {
    /// When the socket last took something.
    pub(super) since: Moment,
    /// Memberships whose cursors are blocked.
    pub(super) places: Vec<u32>,
}

impl Pipe {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            memberships: Vec::new(),
            control: Vec::new(),
            bulk: None,
            stall: None,
            waker: Cell::new(None),
            life: Life::Open,
            flags: Flags::default(),
        }
    }

    /// The next record may be made.
    pub(super) fn can_send(&self) -> bool {
        self.stall.is_none() && matches!(self.life, Life::Open | Life::Finishing)
    }

    /// Waits until the wire can be read, if `read`, or takes bytes again. One task at a time.
    pub(super) fn poll_ready(&self, read: bool, cx: &mut Context<'_>) -> Poll<Ready> {
        let waker = self.waker.take().filter(|waker| waker.will_wake(cx.waker()));
        self.waker.set(Some(waker.unwrap_or_else(|| cx.waker().clone())));
        // A socket that cannot be watched is reported ready: the try tells the error.
        let readable = read && self.wire.poll_ready(cx, Interest::Read).is_ready();
        let write = self.stall.is_some();
        let writable = write && self.wire.poll_ready(cx, Interest::Write).is_ready();
        if readable || writable { Poll::Ready(Ready { readable, writable }) } else { Poll::Pending }
    }

    /// How many bytes of control the next record begins with.
    pub(super) fn control_in_record(&self) -> usize {
        self.control.len().min(RECORD_BYTES_MAX)
    }

    /// Encrypts and writes `plain`, which begins with `control` bytes of the control lane.
    pub(super) fn send(
        &mut self,
        scratch: &mut Scratch,
        plain: &[u8],
        control: usize,
        now: Moment,
    ) -> Result<bool, WireError> {
        if control > 0 {
            if control == self.control.len() {
                self.control = Vec::new();
            } else {
                self.control.drain(..control);
            }
            self.flags.control_is_cut = !self.control.is_empty();
        }
        self.wire.send(scratch, plain)?;
        let drained = self.wire.is_drained();
        if !drained {
            self.stall(now);
        }
        Ok(drained)
    }

    /// The socket is full: its task must wait for it to drain.
    pub(super) fn stall(&mut self, now: Moment) {
        self.stall = Some(Box::new(Stall { since: now, places: Vec::new() }));
        self.wake();
    }

    /// Notes a membership whose cursor waits for the socket.
    pub(super) fn note_blocked(&mut self, place: u32) {
        if let Some(stall) = &mut self.stall {
            stall.places.push(place);
        }
    }

    /// Has the connection's task ask again.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Takes out a membership; the last one moves to its place. Returns that one.
    pub(super) fn remove_membership(&mut self, place: u32) -> Option<Membership> {
        let last = self.memberships.len().checked_sub(1)?;
        self.memberships.swap_remove(place as usize);
        thrift::shrink(&mut self.memberships);
        if let Some(stall) = &mut self.stall {
            stall.places.retain(|blocked| *blocked != place);
            for blocked in &mut stall.places {
                if *blocked as usize == last {
                    *blocked = place;
                }
            }
        }
        self.memberships.get(place as usize).copied()
    }
}
