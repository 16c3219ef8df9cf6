//! What every room stands on: clock, randomness, ids, shards, shutdown. Knows no chat.

pub mod clock; //      the time: monotonic, of day, since boot
pub mod door; //       where blocking work goes
pub mod mailbox; //    where a shard receives
pub mod memory; //     what this process has, and what there is
pub mod placement; //  which shard orders a channel, and which is a person's home
pub mod private_file; // secrets on disk: whole, and for their owner alone
pub mod random; //     bytes nobody can guess, or, in simulation, from a seed
pub mod route; //      where an answer goes
pub mod shutdown; //   the phases of going down, for everyone to watch
pub mod snowflake; //  message ids: unique everywhere, rising
