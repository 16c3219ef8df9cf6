//! Who asks to come in, and what becomes of it.

use damso_proto::id::Uid;

use super::records::User;
use crate::model::device::DeviceId;

/// Whether a valid token of an unknown person makes the person.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub enum Provision {
    /// The first valid token does.
    #[default]
    Auto,
    /// Only the operator does.
    Strict,
}

/// Who asks to come in, as a valid token and Hello say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Login {
    /// The person.
    pub uid: Uid,
    /// The device.
    pub device: DeviceId,
    /// When the token was issued, milliseconds since 1970; 0: it does not say.
    pub issued_ms: u64,
}

/// What becomes of a login.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Come in.
    Admitted(User),
    /// Nobody is called so, and logging in makes nobody.
    Unknown,
    /// The token was issued before all earlier ones of this person were revoked.
    TokenRevoked,
    /// This device was revoked.
    DeviceRevoked,
}
