//! The client's end: one connection, and the copy of history that outlives connections.
//!
//! ```text
//! socket bytes -> conn (one connection) -> heard -> a load generator, or
//!                                                -> the replica -> news for an app
//! ```
//!
//! No I/O and no clock: bytes and `now` go in; bytes, decisions and timers come out.

mod conn; // one connection: login, frames, request ids, heartbeats
mod heard; // what a server said, typed

mod asks; // requests without an answer
mod backoff; // delays that spread
mod channel_copy; // one channel: contiguous, early, missing
mod hear; // what it makes of what it hears
mod inbox; // what waits for the app
mod link; // connected or not, and when to try again
mod outbox; // sends without an answer
mod pump; // what goes out next
mod replica; // a person's channels across connections: the front of what follows
mod resume; // what is already here, as frames
mod retry; // what a code means for trying again
mod snapshot; // what survives the process
#[cfg(test)]
mod tests;

pub use asks::{AskError, Ticket};
pub use backoff::Random;
pub use conn::{Ask, ClientConn, Fault, Silence};
pub use heard::{Answer, EventBytes, Heard};
pub use inbox::News;
pub use link::{SignedOut, State};
pub use outbox::{SendOutcome, Unsent};
pub use replica::{Now, Options, Replica, SendError, Told};
pub use resume::Cursor;
pub use snapshot::{Proof, Snapshot};
