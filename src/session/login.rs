//! Hello: which version is spoken, and who it is. Identity comes from the verified token alone.

use damso_proto::code::CloseCode;
use damso_proto::id::{Uid, UserNo};
use damso_proto::server::ServerConn;
use damso_proto::wire;

use super::token::{TokenError, Verifier};

/// The protocol version of this server.
pub(super) const VERSION: u32 = 1;
/// Longest name of a device, bytes.
const DEVICE_BYTES_MAX: usize = 64;

/// A person whose Hello was accepted, on the way to their home shard.
pub struct Guest {
    /// The person's number.
    pub user: UserNo,
    /// Who they are outside.
    pub uid: Uid,
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
/// # Errors
/// The closing frame's code and text.
pub fn check(hello: &wire::Hello, verifier: &Verifier, now_ms: u64) -> Result<(Uid, u64), Refused> {
    if hello.min_version > VERSION || hello.max_version < VERSION {
        return Err(Refused { code: CloseCode::Version, text: "this server speaks version 1" });
    }
    if hello.device.is_empty() || hello.device.len() > DEVICE_BYTES_MAX {
        let text = "device: 1-64 bytes, chosen once per installation";
        return Err(Refused { code: CloseCode::Malformed, text });
    }
    let claims = verifier.verify(&hello.token, now_ms).map_err(|error| match error {
        TokenError::Expired => Refused { code: CloseCode::TokenExpired, text: "the token is over" },
        _ => Refused { code: CloseCode::TokenInvalid, text: "the token is not valid here" },
    })?;
    Ok((claims.uid, claims.expires_ms))
}
