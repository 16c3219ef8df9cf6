//! What a person is shown of the connection.

use std::time::{Duration, Instant};

use damso_proto::client;
use damso_proto::time::Moment;

pub use damso_proto::client::SignedOut;

/// The connection, as a person sees it. Only [`State::SignedOut`] is an end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// A connection is being made.
    Connecting,
    /// The server checks who this is.
    Authenticating,
    /// Logged in; what was missed is coming.
    Syncing,
    /// Logged in and up to date.
    Online,
    /// Not connected; trying again by itself.
    Backoff {
        /// Attempts since it last worked.
        attempt: u32,
        /// When the next one begins.
        retry_at: Instant,
        /// Why the last one ended.
        why: String,
    },
    /// It is over: the app closed the client, or has to log in anew.
    SignedOut(SignedOut),
}

impl State {
    pub(crate) fn of(state: client::State, origin: Instant) -> Self {
        match state {
            client::State::Connecting => Self::Connecting,
            client::State::Authenticating => Self::Authenticating,
            client::State::Syncing => Self::Syncing,
            client::State::Online => Self::Online,
            client::State::Backoff { attempt, retry_at, why } => {
                let after: Duration = retry_at.since(Moment::default());
                Self::Backoff { attempt, retry_at: origin + after, why }
            }
            client::State::SignedOut(why) => Self::SignedOut(why),
        }
    }

    /// Whether nothing will come any more.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::SignedOut(_))
    }
}
