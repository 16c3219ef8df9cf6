//! What a refusal or a close means for a client: its number's range decides.

use crate::code::{Code, Next, Retry};

/// Whether the client comes back by itself after a close.
pub(super) fn reconnects_after(close_code: u32) -> bool {
    match Next::of_number(close_code) {
        Next::ReconnectNow | Next::ReconnectLater | Next::ReconnectAt => true,
        Next::LogIn | Next::Stop => false,
    }
}

/// Whether the same request, with the same key, may succeed later.
pub(super) fn may_succeed_later(code: u32) -> bool {
    match Retry::of_number(code) {
        Retry::Later | Retry::SameKey => true,
        Retry::Never | Retry::LogIn | Retry::Upgrade => false,
    }
}

/// Whether the server cannot know any more what became of the key.
pub(super) fn is_key_expired(code: u32) -> bool {
    code == Code::KeyExpired.number()
}

/// Whether what was asked for is not there for this person.
pub(super) fn is_not_found(code: u32) -> bool {
    code == Code::NotFound.number()
}
