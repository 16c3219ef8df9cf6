//! damso: a chat server with its own compact binary protocol.
//!
//! The floors, from the ground up; a room imports only from lower floors, and rooms
//! on one floor do not know each other (`tests/layers.rs` keeps both). `src/README.md`
//! tells the route of one message through them.
//!
//! The modules are public for the binary, the tests and the benches of this
//! repository; they are no stable API.

pub mod admin; //       floor 4: metrics, health (never binds)
pub mod api; //         floor 4: what a backend asks by HTTP (never binds)
pub mod connections; // floor 1: live pipes, channel logs, all writes
pub mod delivery; //    floor 2: a channel at work
pub mod model; //       floor 0: pure rules, time is an argument
pub mod requests; //    floor 3: one handler per request family
pub mod runtime; //     floor 0: clock, ids, shards, mailboxes
pub mod server; //      floor 6: composition root
pub mod session; //     floor 4: one authenticated device
pub mod store; //       floor 1: what is on disk
pub mod transport; //   floor 5: listeners, TLS, login, pump
