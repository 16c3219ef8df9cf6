//! One worker: a process with one thread, one epoll and up to 15,000 connections.
//!
//! ```text
//! controller --Order, one JSON line--> worker
//!            <--Report, one JSON line--
//!
//! turn: wait for sockets or the next moment -> serve what is ready -> send what is due
//!         bytes -> driver -> what they say -> tally (who got what) and meter (how fast)
//! ```
//!
//! A channel belongs to one worker with all its members, so the last receiver of each message is
//! known without a word between workers, and merged figures are plain sums.

mod befall; //   storms, churn, slow readers
mod connect; //  the ramp, and coming back
mod fill; //     as many messages as are wanted, as fast as they are answered
mod hear; //     what was told becomes figures
mod meter; //    distributions in one-second pieces
pub mod order; // what controller and worker say to each other
mod phase; //    a stretch of traffic
mod read_back; // history, for the checker
mod set_up; //   channels
mod stop; //     the target ends, and starts again
mod stream; //   one kind of traffic in one phase
pub mod tally; // who got what
mod visit; //    coming, logging in, resuming and going, again and again
mod work; //     orders in, reports out
mod world; //    connections, and the turn of the loop

pub use work::work;
