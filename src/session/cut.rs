//! Sessions that are revoked: ended at home, where nobody can come in unseen.
//!
//! ```text
//! directory: committed -> counted -> mail to the home shard -> sessions here end -> answered
//!                            \___ whoever arrives at home and was admitted before that is looked at again
//! ```

use std::time::Duration;

use super::login::{DEVICE_REVOKED, REVOKED};
use super::reply;
use super::shard::Shard;
use crate::delivery::Cut;

impl Shard {
    /// Ends a person's sessions. Of what is not encrypted yet only the reason is sent, and nothing
    /// is heard of them any more: then the revocation is confirmed.
    pub(super) fn cut(&self, cut: Cut) {
        let Cut { user, device, done } = cut;
        let (code, text) = if device.is_some() { DEVICE_REVOKED } else { REVOKED };
        // All sessions of the shard are looked at: revocations are rare, and a table of sessions
        // by person would cost every login.
        let ids: Vec<_> = {
            let mut sessions = self.sessions_mut();
            let theirs = sessions.each().filter(|(_, session)| {
                session.user == user
                    && device.as_ref().is_none_or(|device| *device == session.device)
            });
            theirs
                .map(|(id, session)| {
                    session.is_over = true;
                    id
                })
                .collect()
        };
        for id in &ids {
            self.metrics().closed(code.name());
            let frame = reply::closing(code, Duration::ZERO, text);
            self.floors().delivery.borrow_mut().connections.cut(*id, frame);
        }
        // Whoever asked may have given up waiting.
        let _ = done.send(ids.len());
    }
}
