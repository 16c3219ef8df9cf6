//! Tokens and devices that count no more, as an operator or a backend says.
//!
//! The directory first, then the sessions that live: whoever is answered knows that nothing more
//! is sent to any of them, and that none comes back.

use std::sync::Arc;

use damso_proto::id::Uid;

use super::letter;
use crate::delivery::{Cut, Mailboxes, Order, Whom, Why};
use crate::model::device::DeviceId;
use crate::model::limits::REVOKE_TIME_MAX;
use crate::runtime::clock::Clock;
use crate::runtime::door::{Door, DoorError};
use crate::store::directory::{Directory, DirectoryError};

/// Revokes, from any thread. For entrances of operators, and of backends whose key was looked at: it
/// asks nobody whether they may.
#[derive(Clone)]
pub struct Revoker {
    /// People and devices.
    pub directory: Arc<dyn Directory>,
    /// Where blocking work goes.
    pub door: Door,
    /// Every shard's mailbox.
    pub mailboxes: Mailboxes,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// A revocation that stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Revoked {
    /// Sessions that it ended.
    pub sessions: usize,
}

/// Why a revocation is not known to stand. Doing it again is always safe.
#[derive(thiserror::Error, Debug)]
pub enum RevokeError {
    /// The caller's fault.
    #[error("there is no person {0}")]
    NoPerson(Uid),
    /// Too much waits; surely nothing was done.
    #[error("the server has too much to do; try again")]
    Busy,
    /// The directory failed: what it did is unknown.
    #[error("the directory failed: {0}")]
    Directory(#[source] DirectoryError),
    /// It stands, so that nobody comes in; but a session that was there may be there still.
    #[error("revoked, but it is not known whether all sessions have ended; try again")]
    Unconfirmed,
}

impl Revoker {
    /// Revokes every token of a person that was issued until now or, if `device` is named, that
    /// device alone, known or not.
    ///
    /// # Errors
    /// [`RevokeError`].
    pub async fn revoke(&self, uid: Uid, device: Option<DeviceId>) -> Result<Revoked, RevokeError> {
        self.revoke_as_of(self.clock.unix_ms(), uid, device).await
    }

    /// The same as of a time of day, milliseconds: tokens issued after it go on to count. So whoever
    /// repeats what was asked earlier revokes no more than was meant then, though sessions that are
    /// there have to log in again.
    ///
    /// # Errors
    /// [`RevokeError`].
    pub async fn revoke_as_of(
        &self,
        time_ms: u64,
        uid: Uid,
        device: Option<DeviceId>,
    ) -> Result<Revoked, RevokeError> {
        let directory = self.directory.clone();
        let (person, named) = (uid.clone(), device.clone());
        let revoked = self.door.call(move || directory.revoke(&person, named.as_ref(), time_ms));
        let user = match revoked.await {
            Ok(Ok(Some(user))) => user,
            Ok(Ok(None)) => return Err(RevokeError::NoPerson(uid)),
            Ok(Err(error)) => return Err(RevokeError::Directory(error)),
            Err(DoorError::Full) => return Err(RevokeError::Busy),
            Err(DoorError::Panicked) => return Err(RevokeError::Unconfirmed),
        };
        let whom = Whom::of(user, device);
        let cut = |done| Order::Cut(Cut { whom, why: Why::Revoked, done });
        let ended = match self.mailboxes.home(user) {
            Some(mailbox) => letter::ask(mailbox, cut, REVOKE_TIME_MAX).await,
            None => None,
        };
        let sessions = ended.ok_or(RevokeError::Unconfirmed)?;
        metrics::counter!("damso_revocations_total").increment(1);
        tracing::info!(user = user.get(), sessions, "revoked");
        Ok(Revoked { sessions })
    }
}
