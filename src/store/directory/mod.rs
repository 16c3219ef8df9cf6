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

mod commands; // what changes: one transaction each
mod make; //     ... of those that make channels
mod members; //  ... of those on who is in them
mod reads; //    what is asked
mod rows; //     values as they are stored
mod schema; //   the tables, and their version
mod seam; //     what every engine does
mod sqlite; //   the embedded engine

#[cfg(test)]
mod contract; // the laws of every engine
#[cfg(test)]
pub(crate) mod kit; // short words for tests
#[cfg(test)]
mod membership; // random commands against a model, and reopened files

pub use seam::{
    Channel, Command, Directory, DirectoryError, Done, Heading, Joining, Member, Membership, Moved,
    NewChannel, Options, OutboxId, OutboxRow, Owed, Provision, User,
};
pub use sqlite::Sqlite;
