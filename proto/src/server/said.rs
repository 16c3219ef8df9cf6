//! What a client said, what its silence calls for, and how it may break the protocol.

use prost::DecodeError;

use crate::code::CloseCode;
use crate::frame::BadLength;
use crate::id::{Key, RequestId};
use crate::wire;
use crate::wire::client_frame::Kind;

/// Something that a client said.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, and an allocation per request would cost more"
)]
pub enum Said {
    /// Who it is. Nothing else is said until [`ServerConn::accept`](super::ServerConn::accept).
    Hello(Box<wire::Hello>),
    /// What it already has: as many cursors as channels, and none too many.
    Resume(wire::Resume),
    /// To be answered, then [`ServerConn::answered`](super::ServerConn::answered).
    Request(Request),
    /// A request of a kind made after this server. To be refused, then
    /// [`ServerConn::answered`](super::ServerConn::answered).
    Unknown(RequestId),
    /// To be answered with Pong of the same id.
    Ping(u64),
    /// The answer to a probe.
    Pong {
        /// The probe's.
        id: u64,
        /// The client's clock, milliseconds since 1970.
        time_ms: u64,
    },
    /// The answer to this request is no longer wanted.
    Cancel(RequestId),
    /// That it is still there.
    KeepAlive,
}

/// A request, checked for nothing but its form.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// The client's name for it; never 0.
    pub id: RequestId,
    /// `None`: none was sent, or what was sent is no UUIDv7.
    pub key: Option<Key>,
    /// Not worth starting later than this long after arrival; 0 = no deadline.
    pub deadline_ms: u32,
    /// 0 for the first attempt, counted up by each repetition.
    pub attempt: u32,
    /// W3C trace context as it came; may be nonsense. Empty: none, or a longer one than
    /// [`TRACEPARENT_BYTES_MAX`](crate::limits::TRACEPARENT_BYTES_MAX).
    pub traceparent: String,
    /// What is asked: any kind but Hello, Resume, Ping, Pong and Cancel.
    pub kind: Kind,
}

/// What a silence calls for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Send Ping with this id.
    Probe(u64),
    /// Send Closing with this code, and go.
    Close(CloseCode),
}

/// The client broke the protocol: the connection ends.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Bytes that are no frame.
    #[error("the client sent a frame that cannot be read: {0}")]
    Malformed(#[from] DecodeError),
    /// A length that no frame may have.
    #[error(transparent)]
    Length(#[from] BadLength),
    /// A frame that may not stand here.
    #[error("the client sent {0}")]
    Unexpected(&'static str),
    /// Input came although reading was to stop.
    #[error("{bytes} bytes came that may not be read yet")]
    Unread {
        /// How much would have had to be kept.
        bytes: usize,
    },
}

impl Fault {
    /// With what to close.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::Length(BadLength::TooLarge { .. }) => CloseCode::FrameTooLarge,
            _ => CloseCode::Malformed,
        }
    }
}
