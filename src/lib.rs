//! damso: a chat server with its own compact binary protocol.
//!
//! The floors, from the ground up; a room imports only from lower floors, and rooms
//! on one floor do not know each other (`tests/layers.rs` keeps both). `src/README.md`
//! tells the route of one message through them.
//!
//! The modules are public for the binary, the tests and the benches of this
//! repository; they are no stable API.

pub mod model; //       floor 0: pure rules, time is an argument
pub mod runtime; //              clock, ids, shards, shutdown

pub mod store; //       floor 1: what is on disk

pub mod session; //     floor 4: one authenticated device

pub mod transport; //   floor 5: listeners, TLS, login
