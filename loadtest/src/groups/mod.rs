//! People in groups: C channels of M members, messages at a planned rate, everyone listening.
//!
//! ```text
//! controller --Order, one JSON line--> worker (a process: one thread, <= 15,000 connections)
//!            <--Report, one JSON line--
//! ```
//!
//! A channel belongs to one worker with all its members, so the last receiver of each message is
//! known without a word between workers, and merged figures are plain sums.

mod connect;
mod controller;
mod crew;
mod desk;
mod order;
mod phase;
mod readback;
mod report;
mod setup;
mod worker;

pub use controller::{Options, RunError, run};
pub use crew::CrewError;
pub use order::{Order, Report};
pub use report::{Outcome, RunReport};
pub use worker::work;
