//! One authenticated device on one connection: what it says goes to the requests,
//! what they answer goes to its pipe.
//!
//! ```text
//! pump (transport) --bytes--> Shard::read --> ServerConn (damso-proto) --said--> here
//!    send          -> requests::send, answered from the commit group
//!    other request -> a task of its own -> reply: control lane, or bulk lane if it is long
//!    resume        -> a task of its own -> standings and events in the bulk lane
//! ```
//!
//! Closing codes are made here and nowhere else; a refusal brings its own.

mod bulk; //    long answers, one chunk in flight
mod life; //    a shard's beginning and end
mod login; //   Hello: version and token, before there is a session
mod metrics; // what a shard counts of its sessions
mod orders; //  what operators want of sessions
mod proof; //   what a device is told, and proves itself with
mod renewal; // a token that ends, and one that goes on
mod reply; //   answers and refusals as frames
mod resume; //  standings and missed events for a device that comes back
mod said; //    what a client said, and what is done about it
mod shard; //   a shard: its floors, its sessions, its turn
mod table; //   sessions by connection
pub mod token; //  who is it: tokens, checked and issued
mod token_life; // until when a token lets its bearer stay
mod turnstile; // so many steps of logins between two turns
mod welcome; // what a device is told once it is in

pub use life::{drain, make};
pub use login::{Claimed, Guest, Refused, admitted, check};
pub use proof::Proofs;
pub use reply::closing;
pub use shard::{Options, Shard};
