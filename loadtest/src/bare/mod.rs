//! The yardstick: epoll, rustls and one write per delivery, with no product in between.
//!
//! It speaks as much of the wire as the harness needs, keeps everything in memory, checks nobody
//! and stores nothing. What a delivery costs here is what the system calls and TLS cost; a server's
//! figure divided by this one, taken in the same run, says what the product adds.
//!
//! It is also the harness' null server: [`Fault`]s make it do wrong in known ways.
//!
//! ```text
//! server  accepts, reads, answers, fans out
//! crowd   who is connected, and writing to them, through ...
//! delay   ... a queue, if the server is to be slow
//! fault   what goes wrong, and when
//! talk    the frames
//! ```

mod certificate;
mod crowd;
mod delay;
mod fault;
mod server;
mod talk;
#[cfg(test)]
mod tests;

pub use certificate::Certificate;
pub use fault::{Fault, FaultError, Stall, Wrong};
pub use server::{BareError, Server};
