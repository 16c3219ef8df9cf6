//! What an operator looks at, and the few things that they do: metrics, health, revocations,
//! and a page that says what is here.
//!
//! Never binds: the listener is handed in. It runs on a runtime of its own, so that
//! a scrape never delays a message.

mod page; //    the routes
mod process;
mod revoke; //  tokens and devices that count no more // what the operating system says of this process

pub use page::{Health, serve};
pub use process::descriptors;
