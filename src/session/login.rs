//! Hello: which version is spoken, and who it is. Identity comes from the verified token alone.

use damso_proto::code::CloseCode;
use damso_proto::id::UserNo;
use damso_proto::server::ServerConn;
use damso_proto::wire;

use super::token::{TokenError, Verifier};
use crate::model::device::DeviceId;
use crate::store::directory::{Admission, Login};

/// The protocol version of this server.
pub(super) const VERSION: u32 = 1;

/// A person whose Hello was accepted, on the way to their home shard.
pub struct Guest {
    /// The person's number.
    pub user: UserNo,
    /// Who they are outside, and with which device.
    pub login: Login,
    /// How many revocations there were before the directory was asked about them.
    pub revocations: u64,
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

/// Checks version, device and token.
///
/// Returns who it is, and when the token ends, milliseconds since 1970.
///
/// # Errors
/// The closing frame's code and text.
pub fn check(
    hello: &wire::Hello,
    verifier: &Verifier,
    now_ms: u64,
) -> Result<(Login, u64), Refused> {
    if hello.min_version > VERSION || hello.max_version < VERSION {
        return Err(Refused { code: CloseCode::Version, text: "this server speaks version 1" });
    }
    let device = DeviceId::parse(&hello.device).ok_or(Refused {
        code: CloseCode::Malformed,
        text: "device: 1-64 bytes, chosen once per installation",
    })?;
    let claims = verifier.verify(&hello.token, now_ms).map_err(|error| match error {
        TokenError::Expired => Refused { code: CloseCode::TokenExpired, text: "the token is over" },
        _ => Refused { code: CloseCode::TokenInvalid, text: "the token is not valid here" },
    })?;
    Ok((Login { uid: claims.uid, device, issued_ms: claims.issued_ms }, claims.expires_ms))
}

/// What the directory's answer means to whoever wants to come in.
///
/// # Errors
/// The closing frame's code and text.
pub fn admitted(admission: Admission) -> Result<UserNo, Refused> {
    let (code, text) = match admission {
        Admission::Admitted(user) => return Ok(user.number),
        Admission::Unknown => (CloseCode::TokenInvalid, "this person is not known here"),
        Admission::TokenRevoked => REVOKED,
        Admission::DeviceRevoked => DEVICE_REVOKED,
    };
    Err(Refused { code, text })
}

/// How a person's sessions end whose tokens were revoked, and how logins with one do.
pub(super) const REVOKED: (CloseCode, &str) = (CloseCode::TokenInvalid, "this token was revoked");
/// The same of one device.
pub(super) const DEVICE_REVOKED: (CloseCode, &str) = (CloseCode::Kicked, "this device was revoked");
