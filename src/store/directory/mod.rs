//! People, channels, and who is in them: the source of truth for rights.
//!
//! ```text
//! command --one transaction--> members, version + 1
//!                              command row: the same key again gets the first answer
//!                              outbox rows: events that tell it, not yet in any log
//! owner   --outbox_of--> appends them, in order, key = the row's --> outbox_done
//! ```
//!
//! SQL and history share no transaction: the outbox is what makes them agree after a
//! crash. A row's event is appended at least once, under a key of the row's own, so
//! that the log stores it once.

mod admission; // who asks to come in, and what becomes of it
mod blocks; //   ... of those on who blocks whom
mod commands; // what changes: one transaction each
mod devices; //  who may come in: devices, and tokens that count no more
mod keep_order; // ... of those that mute, and keep out
mod make; //     ... of those that make channels
mod members; //  ... of those on who is in them
mod reads; //    what is asked
mod records; //  what it is told, holds, and answers
mod rows; //     values as they are stored
mod schema; //   the tables, and their version
mod seam; //     what every engine does
mod service_keys; // who a backend is, and what its requests are known by
mod sqlite; //   the embedded engine
mod update; //   ... of the command on a channel's name and notes

#[cfg(test)]
mod contract; // the laws of every engine
#[cfg(test)]
pub(crate) mod kit; // short words for tests
#[cfg(test)]
mod membership; // random commands against a model, and reopened files

pub use admission::{Admission, Login, Provision};
pub use records::{
    Ban, Channel, Command, Done, Heading, Joining, Member, Membership, Moved, NewChannel, OutboxId,
    OutboxRow, Owed, User,
};
pub use seam::{Directory, DirectoryError, Options};
pub use service_keys::{AskedAs, NewServiceKey, ServiceKey, ServiceKeyId, ServiceKeys};
pub use sqlite::Sqlite;
