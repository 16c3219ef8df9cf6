//! The wire protocol of damso: messages, framing, limits, codes, and both ends' state machines.
//!
//! No I/O, no clock, no runtime: bytes and `now` go in; bytes, decisions and timers come out.
//! `README.md` beside `Cargo.toml` is the specification.

/// Messages generated from `proto/damso/v1/*.proto`; a test compares the two.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod wire {
    include!("gen/damso.v1.rs");
}

pub mod address;
pub mod client;
pub mod code;
pub mod frame;
pub mod id;
pub mod limits;
pub mod server;
pub mod time;
