//! The client's end: one connection, and the copy of history that outlives connections.
//!
//! ```text
//! socket bytes -> conn (one connection) -> heard -> the replica, or a load generator
//! ```
//!
//! No I/O and no clock: bytes and `now` go in; bytes, decisions and timers come out.

mod conn; // one connection: login, frames, request ids, heartbeats
mod heard; // what a server said, typed

pub use conn::{Ask, ClientConn, Fault, Silence};
pub use heard::{Answer, EventBytes, Heard};
