//! Live pipes: who is connected here, and what is still to be written to them.
//!
//! Owns sockets, TLS and every write. Knows nothing of rights, stores or requests.
//!
//! ```text
//! events  -> Log (one per channel with members here) -> round robin -\
//! answers -> control lane ---------------------------------------------> Pipe -> TLS record -> socket
//! replays, pages -> bulk lane (one chunk, only when the socket has drained) -/
//! ```
//!
//! There is no queue per connection. A channel's events wait once, in its log, and
//! each member is a cursor into it; the flush sends everything from a cursor to the
//! head in one TLS record, together with the answers that wait for that pipe. A pipe
//! whose socket is full costs the unsent rest of one record, and its cursors stay.
//!
//! Everything here belongs to one shard and is called from its thread: no lock, and
//! no task is woken for a delivery.

mod flush; //    the loop that turns cursors into writes, a budget at a time
mod log; //      unsent events of one channel, one cursor per member here
mod metrics; //  what is counted, per turn
mod pipe; //     one connection: its lanes and its wire
mod socket; //   what a pipe asks of a socket
mod table; //    the room's front: pipes and logs of one shard
mod wire; //     one socket with its TLS state

pub use log::Appended;
pub use pipe::{LaneFull, Ready};
pub use socket::{Detached, Interest, Socket, TokioSocket};
pub use table::{Connections, Notice, Options, Start, Turn, Why};
pub use wire::{DetachedWire, Received, Scratch, Wire, WireError};
