//! Who asks to come in, and what becomes of it.

use damso_proto::id::Uid;

use super::records::User;
use crate::model::device::{DeviceId, ProofHash};

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
    /// Of what the device presents as its proof.
    pub proof: Option<ProofHash>,
    /// Of what it is told unless it has a proof: the same for each login of one device while a
    /// server runs, so that telling it again writes nothing.
    pub fresh: ProofHash,
}

/// What becomes of a login.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Come in.
    Admitted {
        /// Who it is.
        user: User,
        /// Whether the device is told the fresh proof.
        is_told: bool,
    },
    /// Nobody is called so, and logging in makes nobody.
    Unknown,
    /// The token was issued before all earlier ones of this person were revoked.
    TokenRevoked,
    /// This device was revoked.
    DeviceRevoked,
    /// The device has a proof and does not present it.
    Unproven,
    /// The person has 10 proven devices, all of them seen within 30 days.
    TooManyDevices,
}
