//! Why a request is refused: who is at fault, and whether trying again can help.

use std::time::Duration;

use crate::delivery::{self, Pace};
use crate::model::draft::Invalid;
use crate::model::limits;
use crate::model::rights::Denied;
use crate::store::directory::DirectoryError;
use crate::store::log::StoreError;

/// The only error that leaves this floor. The session turns it into a wire code.
#[derive(thiserror::Error, Debug)]
pub enum Refusal {
    /// The caller's fault: a field is missing, too long, or not what it may be.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The caller's fault: a mutating request without an idempotency key.
    #[error("this request needs a key: 16 bytes, a UUIDv7")]
    KeyMissing,
    /// The key is older than the dedupe window; it is never taken for a new one.
    #[error("the key is older than the dedupe window")]
    KeyExpired,
    /// The key is ahead of the server's clock; correct the clock by Welcome's time.
    #[error("the key is from the future")]
    KeyInFuture,
    /// Not a request of this protocol version.
    #[error("unknown request")]
    Unknown,
    /// The caller's fault: somebody whom they want to add blocks them. Nobody was added.
    #[error("the person at uids[{at}] blocks who wants to add them")]
    Blocked {
        /// Their place in the request.
        at: usize,
    },
    /// Nobody's fault; the same request may succeed later.
    #[error("the directory cannot answer: {0}")]
    Directory(#[source] DirectoryError),
    /// Our fault, in reading; the same request may succeed later.
    #[error("history cannot be read: {0}")]
    Store(#[from] StoreError),
    /// Said by the floor below.
    #[error(transparent)]
    Delivery(#[from] delivery::Refusal),
}

impl Refusal {
    /// Absent, or not the caller's to see.
    pub(super) const fn not_found() -> Self {
        Self::Delivery(delivery::Refusal::NotFound)
    }

    /// What a rule that denies means to whoever asked: a stranger must not learn that it is there.
    pub(super) const fn denied(denied: Denied) -> Self {
        Self::Delivery(delivery::Refusal::of_denied(denied))
    }

    /// The caller's deadline passed before the work began.
    pub(super) const fn late() -> Self {
        Self::Delivery(delivery::Refusal::Deadline)
    }

    /// The caller asks too often.
    pub(super) const fn too_often(after: Duration) -> Self {
        Self::Delivery(delivery::Refusal::TooOften { whose: Pace::Person, after })
    }

    /// Too much waits.
    pub(super) const fn busy() -> Self {
        Self::Delivery(delivery::Refusal::Overloaded { after: limits::OVERLOADED_RETRY })
    }
}

impl From<DirectoryError> for Refusal {
    fn from(error: DirectoryError) -> Self {
        match error {
            error @ (DirectoryError::Unfit(_) | DirectoryError::Engine(_)) => {
                Self::Directory(error)
            }
            error => Self::Delivery(delivery::refusal_of(&error)),
        }
    }
}
