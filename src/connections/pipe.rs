//! One connection: its wire, and the two lanes that are its own.

use bytes::Bytes;
use damso_proto::id::{ChannelNo, Seq};
use damso_proto::time::Moment;

use super::wire::Wire;

/// Most bytes of answers that wait for one connection.
pub(super) const CONTROL_BYTES_MAX: usize = 32 * 1024;

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

/// One chunk of the bulk lane.
pub(super) struct Bulk {
    /// What is still to be encrypted.
    pub(super) bytes: Bytes,
    /// Cursors that start once `bytes` is encrypted.
    pub(super) then: Vec<(ChannelNo, Seq)>,
}

/// See the module's text.
pub(super) struct Pipe {
    pub(super) wire: Wire,
    /// Plaintext of answers, in order.
    pub(super) control: Vec<u8>,
    pub(super) bulk: Option<Box<Bulk>>,
    /// Channels whose news this pipe could not take, to be queued again once it can.
    pub(super) stalled: Vec<ChannelNo>,
    /// Since when the socket has taken nothing while something waits.
    pub(super) stalled_since: Option<Moment>,
    pub(super) state: State,
    /// Stands in the list of pipes with answers.
    pub(super) listed: bool,
    /// The control lane was full: its reader is told when it is free again.
    pub(super) was_full: bool,
}

/// How far a pipe's life has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// All lanes run.
    Open,
    /// Only what waits in the control lane is still written.
    Finishing,
    /// Over: nothing is written, and its shard was told.
    Over,
}

const _: () = assert!(size_of::<Pipe>() <= 240, "ten thousands of these are held at once");

impl Pipe {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            control: Vec::new(),
            bulk: None,
            stalled: Vec::new(),
            stalled_since: None,
            state: State::Open,
            listed: false,
            was_full: false,
        }
    }

    /// Live events may be written now.
    pub(super) fn takes_live(&self) -> bool {
        self.state == State::Open && self.wire.is_drained()
    }

    /// Notes that `channel` has news for this pipe, which it cannot take now.
    pub(super) fn stall(&mut self, channel: ChannelNo) {
        if !self.stalled.contains(&channel) {
            self.stalled.push(channel);
        }
    }
}
