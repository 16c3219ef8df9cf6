//! What a person's device logs in with, from whoever issues it.

use std::time::Duration;

use damso_proto::id::Uid;
use serde::Serialize;

/// Who issues tokens.
pub trait Tokens: Send + Sync {
    /// A token for `uid`. `None`: tokens are issued elsewhere.
    fn issue(&self, uid: &Uid, good_for: Duration) -> Option<Issued>;
}

/// What a person's device logs in with.
#[derive(Serialize)]
pub struct Issued {
    /// The token alone, for an app that knows the server.
    pub token: String,
    /// Address, pin and token in one.
    pub connection_string: String,
}
