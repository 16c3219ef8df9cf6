//! The yardstick: epoll, rustls and one write per delivery, with no product in between.
//!
//! It speaks as much of the wire as the harness needs, keeps everything in memory, checks nobody
//! and stores nothing. What a delivery costs here is what the system calls and TLS cost; a server's
//! figure divided by this one, taken in the same run, says what the product adds.

mod certificate;
mod server;
mod talk;

pub use certificate::Certificate;
pub use server::{BareError, Server, Spoil, Wrong};
