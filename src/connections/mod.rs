//! Live connections of one shard: who is connected here, and what is still to be written to them.
//!
//! Owns sockets, TLS and every write. Knows nothing of rights, stores or requests.
//!
//! ```text
//! events  -> channel log (frames, a cursor per member) -> round robin --\
//! answers -> control lane -----------------------------------------------> pipe -> TLS record -> socket
//! replays, pages -> bulk lane (one chunk, when the socket has drained) --/
//! ```
//!
//! There is no queue per connection. A channel's events wait once, in its log, and each member
//! is a cursor into it; a pass sends everything from a cursor to the head in one TLS record,
//! together with the answers that wait for that pipe. A pipe whose socket is full costs the
//! unwritten rest of one send, and its cursors stay.
//!
//! Everything here belongs to one shard and is called from its thread: no lock, and no task is
//! woken for a delivery. Time is an argument.

mod behind; //        the frame that tells a reader which events it missed
mod channel_log; //   unsent events of one channel, one cursor per member here
mod channels; //      all channel logs, and the order of their turns
mod flush; //         one turn: cursors and lanes become TLS records, a budget at a time
mod lists; //         connections with something to send besides live events
mod memory_socket; // two sockets joined in memory, with faults, for simulation
mod metrics; //       what is counted, per turn
mod notice; //        what a shard is told of its connections
mod options; //       limits
mod pass; //          one channel's part of a turn: visit, record, write
mod pipe; //          one connection: its wire, its lanes, its memberships
mod shard; //         the room's front: all connections of one shard
mod socket; //        what a wire asks of a socket
mod table; //         slots with generations
mod thrift; //        lists of which there are tens of thousands
mod wire; //          one socket with its TLS state

#[cfg(test)]
pub(crate) mod tests;

pub use channel_log::{Appended, Start};
pub use memory_socket::{Cable, End, MemorySocket};
pub use notice::{Notice, Turn, Why};
pub use options::Options;
pub use pipe::{LaneFull, Ready};
pub use shard::Connections;
pub use socket::{Detached, Interest, Socket, TokioSocket};
pub use wire::{DetachedWire, Received, Scratch, Wire, WireError};
