//! Hello: which version is spoken, and who it is. Identity comes from the verified token alone.

use std::net::IpAddr;

use damso_proto::code::CloseCode;
use damso_proto::id::UserNo;
use damso_proto::server::ServerConn;
use damso_proto::wire;

use super::proof::{self, Proofs};
use super::token::{Claims, TokenError, Verifier};
use crate::model::device::{DeviceId, Proof};
use crate::runtime::clock::Clock;
use crate::store::directory::{Admission, Login};

/// The protocol version of this server.
pub(super) const VERSION: u32 = 1;

/// A person whose Hello was accepted, on the way to their home shard.
pub struct Guest {
    /// The person's number.
    pub user: UserNo,
    /// Who they are outside, and with which device.
    pub login: Login,
    /// Where they come from, if a proxy did not keep that to itself.
    pub address: Option<IpAddr>,
    /// How many revocations there were before the directory was asked about them.
    pub revocations: u64,
    /// Told to the device, if it is to be told one.
    pub proof: Proof,
    /// Whether it is.
    pub is_told: bool,
    /// When the token ends, milliseconds since 1970.
    pub token_expires_ms: u64,
    /// The connection's state machine, which has read exactly Hello.
    pub conn: ServerConn,
    /// Plaintext behind Hello.
    pub left: Vec<u8>,
}

/// Why a Hello is not accepted, as the closing frame tells it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// What the client should do next.
    pub code: CloseCode,
    /// For the developer.
    pub text: &'static str,
}

/// Who a Hello says it is.
#[derive(Debug)]
pub struct Claimed {
    /// Person and device.
    pub login: Login,
    /// What the device is told, if the directory says so.
    pub proof: Proof,
    /// When the token ends, milliseconds since 1970.
    pub token_expires_ms: u64,
}

/// Checks version, device and token. May wait for the keys of whoever issued it.
///
/// # Errors
/// The closing frame's code and text.
pub async fn check(
    hello: &wire::Hello,
    (verifier, proofs): (&Verifier, &Proofs),
    clock: &dyn Clock,
) -> Result<Claimed, Refused> {
    if hello.min_version > VERSION || hello.max_version < VERSION {
        return Err(Refused { code: CloseCode::Version, text: "this server speaks version 1" });
    }
    let malformed = |text| Refused { code: CloseCode::Malformed, text };
    let device = DeviceId::parse(&hello.device)
        .ok_or_else(|| malformed("device: 1-64 bytes, chosen once per installation"))?;
    let presented = match hello.device_proof.len() {
        0 => None,
        _ => {
            let proof: Result<&[u8; 32], _> = (&*hello.device_proof).try_into();
            Some(proof.map_err(|_| malformed("device_proof: the 32 bytes of Welcome"))?)
        }
    };
    let claims = verifier.verify_patiently(&hello.token, clock).await;
    let claims = claims.map_err(|error| match error {
        TokenError::Expired => Refused { code: CloseCode::TokenExpired, text: "the token is over" },
        TokenError::UnknownYet => {
            let text = "the issuer's keys were fetched a moment ago: come back";
            Refused { code: CloseCode::Overloaded, text }
        }
        _ => Refused { code: CloseCode::TokenInvalid, text: "the token is not valid here" },
    })?;
    let Claims { uid, issued_ms, expires_ms: token_expires_ms } = claims;
    let proof = proofs.of(&uid, &device);
    let (fresh, presented) = (proof::hash(&proof.0), presented.map(proof::hash));
    let login = Login { uid, device, issued_ms, proof: presented, fresh };
    Ok(Claimed { login, proof, token_expires_ms })
}

/// What the directory's answer means to whoever wants to come in: their number, and whether the
/// device is told its proof.
///
/// # Errors
/// The closing frame's code and text.
pub fn admitted(admission: Admission) -> Result<(UserNo, bool), Refused> {
    let (code, text) = match admission {
        Admission::Admitted { user, is_told } => return Ok((user.number, is_told)),
        Admission::Unknown => (CloseCode::TokenInvalid, "this person is not known here"),
        Admission::TokenRevoked => REVOKED,
        Admission::DeviceRevoked => DEVICE_REVOKED,
        Admission::Unproven => {
            (CloseCode::DeviceUnproven, "this device does not prove that it is the one known here")
        }
        Admission::TooManyDevices => {
            (CloseCode::TooManyDevices, "this person has 10 devices, the most there may be")
        }
    };
    Err(Refused { code, text })
}

/// How a person's sessions end whose tokens were revoked, and how logins with one do.
pub(super) const REVOKED: (CloseCode, &str) = (CloseCode::TokenInvalid, "this token was revoked");
/// The same of one device.
pub(super) const DEVICE_REVOKED: (CloseCode, &str) = (CloseCode::Kicked, "this device was revoked");
