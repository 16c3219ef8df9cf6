//! What a backend asks by HTTP: people, channels, members, messages. Request and answer, JSON, a key
//! for each backend. Never binds: connections are handed in.
//!
//! ```text
//! transport --request--> gate: a place, a key, a scope -> route: the body, checked
//!                                                           |  errand, by mail
//!                        answer <--oneshot-- requests <-----+  on a shard, with its floors
//! ```
//!
//! No handler decides anything: rights, order and repetitions are the business of the floors below,
//! and a message of a backend goes the way of a person's.

mod ask; //      a request, its parts checked
mod bans; //     keep out, let in again, list
mod blocks; //   block, no longer block, list
mod channels; // make, find
mod entry; //    the place of all: who asks, and whether they may
mod errand; //   from the API's thread to a shard and back
mod members; //  add, list, give a role, mute, remove
mod messages; // send, read
mod openapi; //  the description for programs
mod people; //   make, find, tokens and their end
mod problem; //  why not
mod routes; //   every path and method
mod secret; //   keys of backends as text
mod stats; //    how much there is to do
mod tokens; //   what a device logs in with

pub use entry::{Api, Parts};
pub use errand::{Errands, receive};
pub use routes::router;
pub use secret::{Secret, text_of};
pub use tokens::{Issued, Tokens};
