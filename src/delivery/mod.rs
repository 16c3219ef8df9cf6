//! A channel at work: order, commit, fan out.
//!
//! Every shard runs one [`Delivery`]. For the channels whose hash falls to it, it is
//! the *owner*: it decides duplicates, rights and order. For the people whose hash
//! falls to it, it is the *home*: it holds their memberships and connections.
//!
//! ```text
//! requests --submit--> Post --one batch per turn--> owner shard: Owned > Channel
//!                                                     | waits for its run, then leaves as one
//!                                                     v
//!                                                  ChannelLog (commit group)
//!                                                     | Durable, to every shard, groups in order
//!            answers <-- own senders   <--------------+--------------> Connections: channel logs
//!                                       Homes: rights change with the event that tells it
//! ```
//!
//! What holds:
//! - one run of a channel is in flight at a time; seq and id are given out when it leaves;
//! - only committed heads are shown to anyone;
//! - a change of rights passes every shard in the same order as the events, and its
//!   command is answered after every shard has applied it; one that no event tells passes while
//!   nothing of its channel is ordered;
//! - nothing here waits: the stores are asked through the door, and answer by mail.

mod admit; //   what may go into a run
mod channel; // one channel: its queue, its stage, its next run
mod home; //    who is here: memberships and connections of a person
mod keys; //    recent idempotency keys of a channel
mod lateness; // what waits too long, for too long
mod mail; //    what shards tell each other
mod order; //   what operators want of sessions
mod owner; //   the channels ordered here
mod post; //    mailboxes out, and the store's sink
mod rate; //    how often a channel takes messages
mod roster; //  who may what in a channel
mod settle; //  a change of rights until every shard knows it
mod shard; //   the room itself: mail in, answers out
mod stage; //   what a channel waits for, and does next
mod take_up; // what a crash left, at the next start

#[cfg(test)]
pub(crate) mod tests;

pub use home::{Arrival, LoadTicket};
pub use mail::{
    Answer, Change, ChangeKind, Found, Mail, Membership, OpenError, Outcome, Refusal, Rights,
    Submission, Work,
};
pub use order::{Connected, Counts, Cut, List, Order, Whom, Why};
pub use owner::{Tools, refusal_of};
pub use post::{Groups, Mailboxes};
pub use rate::{Admission, Pace};
pub use shard::{Delivery, Parts};
pub use take_up::take_up;
