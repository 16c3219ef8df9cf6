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

/// A connection of the process, as operators call it: `shard-slot-generation`. Their order is that
/// of lists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionName {
    /// The shard that holds it.
    pub shard: ShardNo,
    /// The connection there.
    pub connection: ConnectionId,
}

impl std::fmt::Display for ConnectionName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ConnectionId { slot, generation } = self.connection;
        write!(f, "{}-{slot}-{generation}", self.shard.0)
    }
}

/// A text that names no connection.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("a connection is called like 0-12-3")]
pub struct NoConnectionName;

impl std::str::FromStr for ConnectionName {
    type Err = NoConnectionName;

    fn from_str(text: &str) -> Result<Self, NoConnectionName> {
        let mut numbers = text.split('-');
        let [shard, slot, generation] = [(); 3].map(|()| numbers.next());
        let name = (|| {
            let shard = ShardNo(shard?.parse().ok()?);
            let (slot, generation) = (slot?.parse().ok()?, generation?.parse().ok()?);
            Some(Self { shard, connection: ConnectionId { slot, generation } })
        })();
        name.filter(|_| numbers.next().is_none()).ok_or(NoConnectionName)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connections_name_comes_back_and_nothing_else_is_one() {
        let connection = ConnectionId { slot: 12, generation: 3 };
        let name = ConnectionName { shard: ShardNo::new(1), connection };
        assert_eq!(name.to_string(), "1-12-3");
        assert_eq!("1-12-3".parse(), Ok(name));
        for foreign in ["", "1-12", "1-12-3-4", "a-1-2", "1--2", "99999999999-0-0"] {
            assert_eq!(foreign.parse::<ConnectionName>(), Err(NoConnectionName), "{foreign}");
        }
    }
}
