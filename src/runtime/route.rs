//! Addresses within the process: a shard, a connection on it, a request of that connection.

use damso_proto::id::RequestId;

/// A worker thread and all that it owns, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardNo(u16);

impl ShardNo {
    /// The shard at `index`.
    pub const fn new(index: u16) -> Self {
        Self(index)
    }

    /// Its index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A connection on its shard. The generation tells it from earlier ones in the same slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId {
    /// Index in the shard's table.
    pub slot: u32,
    /// How often the slot was used before.
    pub generation: u32,
}

/// Where the answer to a request goes. Plain data, so that it may wait in any queue.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Route {
    /// The shard that holds the connection.
    pub shard: ShardNo,
    /// The connection there.
    pub connection: ConnectionId,
    /// The request that is answered.
    pub request: RequestId,
}
