//! What every room stands on: clock, ids, shards. Knows no chat.

pub mod route; //  where an answer goes
