//! History on disk, on fjall: one writing thread for each partition, readers beside it.
//!
//! ```text
//! append -> queue -> committer: one batch, one fdatasync -> sink
//!                        |-> keeper: watermark, free space
//! read <- snapshot <- keyspaces <-'
//! ```
//!
//! The engine is fast and atomic, and it has ways to lose data without a word: it drops all
//! that follows a damaged journal page, and a kill in its first milliseconds leaves a
//! directory that never opens. So the store is made aside and renamed, copies journals before a
//! recovery, knows from a watermark of its own how far it was durable, and refuses to serve
//! when it came back with less.

mod committer; //  the one thread that writes
mod engine;
mod heads; //      heads that the committer remembers
mod journal; //    the torn end of the engine's journal, cut before the engine reads it
mod keeper; //     the thread beside it: watermark, free space
mod key; //        keys, byte by byte
mod layout; //     the directory: format, epoch, lock, made aside and renamed
mod metrics; //    what the store counts
mod open; //       recovery, and the doubts after it
mod options; //    settings and limits
mod queue; //      runs that wait for the committer
mod read; //       pages, heads, keys, feed
mod record; //     an event as bytes
mod row; //        the small rows beside the events
mod schema; //     keyspaces, and the row that all of them share
mod watermark; //  how far it was durable, apart from the database //     the partition map, and all partitions as one log

#[cfg(test)]
mod tests; //      the engine under the contract, damage and a full disk

pub use engine::FjallLog;
pub use options::{Options, Sync};
