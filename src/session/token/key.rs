//! Keys whose word counts: the public halves, and files that cannot be used.

use std::io;
use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::{self, PemObject as _};

/// DER of a public key up to the key itself: SEQUENCE { SEQUENCE { 1.3.101.112 }, BIT STRING }.
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];

/// The public half of somebody's key who may say who people are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyingKey {
    /// The only `kid` that it answers to; `None`: to each.
    pub(super) kid: Option<String>,
    pub(super) public: [u8; 32],
}

impl VerifyingKey {
    /// Reads a public key (PEM, `BEGIN PUBLIC KEY`). It answers to every `kid`.
    ///
    /// # Errors
    /// [`KeyError`] names the file.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let der = SubjectPublicKeyInfoDer::from_pem_file(path).map_err(|error| match error {
            pem::Error::Io(reason) => KeyError::io(path, reason),
            pem::Error::NoItemsFound => KeyError::new(path, "there is no public key (PEM) in it"),
            other => KeyError::new(path, other),
        })?;
        let public = der.strip_prefix(&ED25519_PREFIX).and_then(|key| key.try_into().ok());
        let public = public.ok_or_else(|| KeyError::new(path, "not an Ed25519 public key"))?;
        Ok(Self { kid: None, public })
    }

    /// Whether a token that names `kid` may be signed by it.
    pub(super) fn may_be(&self, kid: Option<&str>) -> bool {
        match (&self.kid, kid) {
            (Some(own), Some(asked)) => own == asked,
            _ => true,
        }
    }
}

/// The name of a key that follows from the key (RFC 7638).
pub(super) fn thumbprint(public: &[u8; 32]) -> String {
    let key = BASE64.encode(public);
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{key}"}}"#);
    BASE64.encode(ring::digest::digest(&ring::digest::SHA256, jwk.as_bytes()))
}

/// A key file that cannot be used.
#[derive(thiserror::Error, Debug)]
#[error("cannot use the token key {}: {reason}", .path.display())]
pub struct KeyError {
    path: PathBuf,
    pub(super) reason: io::Error,
}

impl KeyError {
    /// The file is there, but it is not a key of the right kind.
    pub(super) fn new(
        path: &Path,
        reason: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::io(path, io::Error::other(reason))
    }

    /// The operating system refused.
    pub(super) fn io(path: &Path, reason: io::Error) -> Self {
        Self { path: path.into(), reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_read_from_its_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("public.pem");
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        std::fs::write(&path, pair.public_key_pem()).unwrap();
        assert_eq!(VerifyingKey::load(&path).unwrap().public, pair.public_key_raw());
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        for text in [other.public_key_pem(), pair.serialize_pem(), String::new()] {
            std::fs::write(&path, text).unwrap();
            let refused = VerifyingKey::load(&path).unwrap_err().to_string();
            assert!(refused.contains("public.pem"), "{refused}");
        }
    }
}
