//! What can go wrong, whose fault it is, and whether trying again is safe.

use damso_proto::client::{AskError, SendError};
use damso_proto::wire;

use crate::trust::TrustError;

/// A client was not made.
#[derive(thiserror::Error, Debug)]
pub enum ConnectError {
    /// The connection string says where, but not who.
    #[error("the connection string has no token; ask the server's operator for one")]
    NoToken,
    /// Whom to believe is not known.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A device has 1-64 bytes.
    #[error("a device name has 1 to 64 bytes; this one has {0}")]
    Device(usize),
    /// The operating system refused the client's thread.
    #[error("cannot start the client's thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// A request or a send did not succeed.
#[derive(thiserror::Error, Clone, PartialEq, Debug)]
pub enum Error {
    /// The server refused it for good.
    #[error("{text} (code {code})")]
    Refused {
        /// Stable number; the protocol's table of codes explains it.
        code: u32,
        /// The field at fault, if one is.
        field: String,
        /// For developers, in English.
        text: String,
    },
    /// Not answered in time: a change may have happened or may still happen.
    #[error("the server did not answer in time")]
    Timeout,
    /// It may be stored or not, and the server has forgotten: only a person can decide.
    #[error("unknown whether the message was stored")]
    Unknown,
    /// The server's answer makes no sense: it is of another make.
    #[error("the server's answer makes no sense")]
    Nonsense,
    /// Too much waits already.
    #[error("too much waits to be sent")]
    Busy,
    /// The client is closed or signed out.
    #[error("the client is closed")]
    Closed,
}

/// Whose fault an error is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The request was wrong: change it.
    Caller,
    /// The server's, or the network's.
    Server,
}

impl Error {
    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused { .. } | Self::Busy | Self::Closed => Fault::Caller,
            Self::Timeout | Self::Unknown | Self::Nonsense => Fault::Server,
        }
    }

    /// Whether the same call again can neither happen twice nor be in vain for sure.
    pub fn is_retry_safe(&self) -> bool {
        match self {
            Self::Busy => true,
            // A repeated change would carry another key and could happen twice.
            Self::Timeout | Self::Unknown => false,
            Self::Refused { .. } | Self::Nonsense | Self::Closed => false,
        }
    }
}

impl From<wire::Refusal> for Error {
    fn from(refusal: wire::Refusal) -> Self {
        let wire::Refusal { code, field, text, .. } = refusal;
        let text = if text.is_empty() { "the server refused".into() } else { text };
        Self::Refused { code, field, text }
    }
}

impl From<AskError> for Error {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Refused(refusal) => refusal.into(),
            AskError::Deadline => Self::Timeout,
            AskError::Nonsense => Self::Nonsense,
            AskError::TooMany => Self::Busy,
            AskError::Closed => Self::Closed,
        }
    }
}

impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Full => Self::Busy,
            SendError::Closed => Self::Closed,
        }
    }
}
