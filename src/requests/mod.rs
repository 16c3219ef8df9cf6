//! What a person, or a backend, may ask: one file per request family, each handler from actor and
//! request to answer. No socket, no session. Beside them, what operators and backends do over other
//! entrances: [`Revoker`] and [`Operator`].
//!
//! Rights to read are checked at the person's home shard, before *and* after the
//! stores were asked, so that a page which was running when its reader was removed
//! is not handed out. Rights to write are checked by the channel's owner.

mod backend; //  what a backend alone may ask
mod blocks; //   who blocks whom
mod budgets; //  who asks too often
mod channels; // make, list, find
mod envelope; // what stands beside every request
mod floors; //   what handlers stand on
mod history; //  pages of a channel's past
mod key; //      idempotency keys and body hashes
mod letter; //   to a shard, from elsewhere
mod lists; //    who is in a channel, and who is kept out
mod members; //  add, remove, mute, keep out, leave
mod operate; //  who is connected, and who is not any more
mod outcome; //  what became of earlier sends
mod people; //   numbers and uids
mod refusal; //  why not
mod resume; //   how each channel stands for a device that comes back
mod revoke; //   tokens and devices that count no more
mod send; //     a message on its way to the owner
mod table; //    one row per request kind
mod told; //     what whoever asked is told of a refusal
mod update; //   another name, other notes

#[cfg(test)]
mod tests;

pub use backend::{
    Channel, ChannelName, Established, channel, establish, establish_direct, make_person, person,
};
pub use budgets::{Budgets, Purse, Unpaid};
pub use channels::ByBackend;
pub use envelope::Envelope;
pub use floors::Floors;
pub use operate::{Listed, OperateError, Operator, Page, Target};
pub use outcome::outcomes;
pub use refusal::Refusal;
pub use resume::{Cursor, Cursors, Plan, Replay, Visible, memberships, plan, replay};
pub use revoke::{RevokeError, Revoked, Revoker};
pub use send::{send, send_and_wait};
pub use table::{Reply, Row, handle, row};
pub use told::Told;
