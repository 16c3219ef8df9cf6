//! Checks what was seen from outside against what a chat server promises.
//!
//! Observers (senders, receivers, a reader of history) report [`Observation`]s in the order in
//! which they happened; [`Checker::finish`] judges. Bodies are hashed when they are observed, so
//! an event costs 24 bytes and a send about 130, however long the text is.
//!
//! ```text
//! Sent, Acked, Refused, Doubtful ---> sends      one row per key
//! Stored, ReadBack -----------------> history    one slot per (channel, seq): who said what stands there
//! Received, Resumed, ... -----------> receivers  one cursor per (receiver, channel)
//!                                        |
//!                                     Verdict    counts, and the first witnesses of each broken law
//! ```

mod history;
mod judge;
mod law;
mod observation;
mod receivers;
mod sends;

#[cfg(test)]
mod mutations;
#[cfg(test)]
mod tests;

pub use judge::Checker;
pub use law::{Counts, Law, Verdict, Who, Witness};
pub use observation::{BodyHash, Content, Observation, ReceiverNo, Seen, SessionNo};
