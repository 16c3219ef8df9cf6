//! SDK core of damso: connects, resumes, sends once, repairs holes.
//!
//! ```no_run
//! use damso_client::{Client, Content, Draft, Uid, Update};
//!
//! # async fn chat() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect("damso://localhost:7443?pin=...&token=...".parse()?)?;
//! let bob = Uid::parse("bob").ok_or("a uid has 1 to 64 bytes")?;
//! let chat = client.open_direct(&bob).await?;
//!
//! let mut hello = client.send(chat.channel, Draft::text("안녕!"))?;
//! println!("on the server's disk at {}", hello.stored().await?.seq);
//!
//! while client.ready().await {
//!     for update in client.take(100) {
//!         if let Update::Event(event) = update
//!             && let Content::Text(text) = event.content
//!         {
//!             println!("{}: {text}", event.sender);
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod blocks; // whom a person blocks
mod channel; // a channel as its member sees it
mod channels; // a person's channels, and who is in them
mod client; // the front: a person on a device
mod driver; // the background task that owns the socket
mod error; // what went wrong, and whether to try again
mod event; // what an app sees
#[cfg(test)]
mod loopback_tests;
mod platform; // clocks, randomness, the way to the server: the system's, or a simulation's
mod shared; // the machine behind its lock
mod state; // the connection, as a person sees it
mod trust; // whom to believe to be the server

pub use blocks::Blocked;
pub use bytes::Bytes;
pub use channel::{Channel, ChannelKind};
pub use client::{Client, Options, SendHandle};
pub use damso_proto::address::{AddressError, ConnectionString, Pin, Token};
pub use damso_proto::client::{Cursor, Proof, Snapshot, Unsent};
pub use damso_proto::id::{ChannelNo, Epoch, Key, MessageId, Seq, Uid, UserNo};
pub use error::{ConnectError, Error, Fault};
pub use event::{
    Admission, Ban, Content, Draft, Event, History, Member, Person, Position, Role, System, Update,
};
pub use platform::{Connecting, Platform, Stream};
pub use shared::Stored;
pub use state::{SignedOut, State};
pub use trust::{PinMismatch, Trust, TrustError};

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
