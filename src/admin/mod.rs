//! What an operator looks at, and the few things that they do: metrics, health, who is connected,
//! revocations, the end.
//!
//! ```text
//! request -> entry: a password where there is one, no browser's page -> one file per thing asked
//! ```
//!
//! Never binds: routes are handed out. They run on a runtime of their own, so that
//! a scrape never delays a message.

mod connections; // who is connected, and who is not any more
mod drain; //   the end, asked for
mod entry; //   who may ask, and how they are answered
mod page; //    the routes
mod parts; //   what they stand on
mod process; // what the operating system says of this process
mod report; //  what is answered, as text for programs
mod revoke; //  tokens and devices that count no more
mod status; //  how the server is
mod token; //   the admin port's password

pub use page::router;
pub use parts::{Health, Parts};
pub use process::descriptors;
pub use report::{ConnectionRow, Connections, Draining, Ended, Facts, Refused, ShardRow, Status};
pub use token::AdminToken;
