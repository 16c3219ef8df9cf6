//! What a shard is told of its connections, and of a turn.

use crate::runtime::route::ConnectionId;

/// What a turn did.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Turn {
    /// There is more to write at once: yield to reads and new events, then come back.
    pub more: bool,
    /// Socket writes.
    pub sends: u32,
    /// Events handed to members.
    pub deliveries: u64,
    /// Plaintext bytes.
    pub bytes: u64,
    /// Sends that filled their socket.
    pub blocked: u32,
    /// Cursors that fell off their log.
    pub fallen: u32,
    /// Connections cut because their socket took nothing.
    pub slow: u32,
}

/// What the shard must know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// The bulk lane takes the next chunk.
    BulkFree(ConnectionId),
    /// The control lane has room again.
    ControlFree(ConnectionId),
    /// The connection is over: take it out.
    Gone(ConnectionId, Why),
}

/// Why a connection is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Its closing frame was written.
    Finished,
    /// Its socket took nothing for too long.
    Slow,
    /// Its socket or its TLS failed.
    Broken,
}

impl Why {
    /// For metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Slow => "slow",
            Self::Broken => "broken",
        }
    }
}
