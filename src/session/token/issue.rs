//! Tokens for people without a backend of their own.

use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use damso_proto::id::Uid;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;

use super::key::{Public, VerifyingKey, thumbprint};
use super::key_file::KeyError;
use super::verify::{AUDIENCE, millis};
use crate::runtime::private_file;

/// A token. Shown only where it is asked for by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The text that a client sends.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Issues tokens, for people without a backend of their own.
pub struct Issuer {
    pair: Ed25519KeyPair,
    key: VerifyingKey,
    kid: String,
}

impl Issuer {
    /// Reads the key pair at `path`, or makes one that its owner alone can read.
    ///
    /// # Errors
    /// [`KeyError`] names the file.
    pub fn open_or_make(path: &Path) -> Result<Self, KeyError> {
        match Self::load(path) {
            Err(KeyError { reason, .. }) if reason.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)
            .map_err(|error| KeyError::new(path, error))?;
        match private_file::create(path, pair.serialize_pem().as_bytes()) {
            // Made by somebody else in between: theirs counts.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(KeyError::io(path, error))
            }
            _ => Self::load(path),
        }
    }

    fn load(path: &Path) -> Result<Self, KeyError> {
        let pem = std::fs::read(path).map_err(|error| KeyError::io(path, error))?;
        let open = private_file::is_open_to_others(path);
        if open.map_err(|error| KeyError::io(path, error))? {
            tracing::warn!(path = %path.display(), "others can read this key: chmod 600");
        }
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|error| KeyError::new(path, error))?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der())
            .map_err(|_| KeyError::new(path, "not an Ed25519 private key"))?;
        let public = pair.public_key().as_ref().try_into();
        let public: [u8; 32] = public.map_err(|_| KeyError::new(path, "not an Ed25519 key"))?;
        let kid = thumbprint(&public);
        Ok(Self {
            pair,
            key: VerifyingKey { kid: Some(kid.clone()), public: Public::Ed25519(public) },
            kid,
        })
    }

    /// The public half, for a [`super::Verifier`].
    pub fn verifying_key(&self) -> VerifyingKey {
        self.key.clone()
    }

    /// The public half as its issuer would publish it.
    #[cfg(test)]
    pub(crate) fn jwk(&self) -> serde_json::Value {
        let x = BASE64.encode(self.pair.public_key());
        serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": x })
    }

    /// A token for `uid`, good for `ttl` from `now_ms` (milliseconds since 1970) on.
    pub fn issue(&self, uid: &Uid, ttl: Duration, now_ms: u64) -> Token {
        // To the millisecond: a token made right after a revocation counts.
        let issued = now_ms as f64 / 1_000.0;
        let expires = now_ms.saturating_add(millis(ttl)).div_ceil(1_000);
        let header = serde_json::json!({ "alg": "EdDSA", "typ": "JWT", "kid": self.kid });
        let claims = serde_json::json!({
            "sub": uid.as_str(), "aud": AUDIENCE, "iat": issued, "exp": expires,
        });
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// Signs any header and claims.
    pub(super) fn sign(&self, header: &str, claims: &str) -> Token {
        let mut token = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
        let signature = self.pair.sign(token.as_bytes());
        token.push('.');
        BASE64.encode_string(signature.as_ref(), &mut token);
        Token(token)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer").field("kid", &self.kid).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_pair_is_made_once_for_its_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token-key.pem");
        let made = Issuer::open_or_make(&path).unwrap();
        assert!(!private_file::is_open_to_others(&path).unwrap());
        let opened = Issuer::open_or_make(&path).unwrap();
        assert_eq!(opened.verifying_key(), made.verifying_key());
        std::fs::write(&path, "not a key").unwrap();
        let refused = Issuer::open_or_make(&path).unwrap_err().to_string();
        assert!(refused.contains("token-key.pem"), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"not a key", "never overwritten");
    }

    #[test]
    fn no_secret_is_ever_shown_by_accident() {
        let place = tempfile::tempdir().unwrap();
        let issuer = Issuer::open_or_make(&place.path().join("key")).unwrap();
        let token = issuer.issue(&Uid::parse("a").unwrap(), Duration::from_secs(60), 0);
        assert_eq!(format!("{token:?}"), "Token(..)");
        let shown = format!("{issuer:?}");
        assert!(shown.contains(&issuer.kid) && !shown.contains("pair"), "{shown}");
    }
}
