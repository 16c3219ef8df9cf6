//! The server's end of one connection: what its client may say when, and when it has been
//! silent too long.
//!
//! ```text
//! socket bytes -> conn (framing, pauses) -> line (states, timers) -> said, due or fault
//! ```
//!
//! No I/O and no clock: bytes and `now` go in; what was said and what is due come out.

mod conn; // bytes: whole frames, and what has to wait
mod line; // states, requests in flight, silence
mod said; // what comes out

pub use conn::{ServerConn, ServerOptions};
pub use said::{Due, Fault, Request, Said};
