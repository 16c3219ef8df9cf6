//! Keys in files, and files that cannot be used.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::{self, PemObject as _};

use super::jwks::{self, JwksError};
use super::key::{Public, VerifyingKey};
use crate::model::limits::TOKEN_KEYS_BYTES_MAX;

impl VerifyingKey {
    /// Reads public keys: one as PEM (`BEGIN PUBLIC KEY`: Ed25519, P-256 or RSA), which answers
    /// to every `kid`, or a JWKS, whose keys answer to their own.
    ///
    /// # Errors
    /// [`KeyError`] names the file.
    pub fn load(path: &Path) -> Result<Vec<Self>, KeyError> {
        let mut bytes = Vec::new();
        let max = TOKEN_KEYS_BYTES_MAX as u64 + 1;
        let read = File::open(path).and_then(|file| file.take(max).read_to_end(&mut bytes));
        read.map_err(|error| KeyError::io(path, error))?;
        if bytes.len() > TOKEN_KEYS_BYTES_MAX {
            return Err(KeyError::new(path, JwksError::TooLong));
        }
        if bytes.trim_ascii_start().starts_with(b"{") {
            return jwks::parse(&bytes).map_err(|error| KeyError::new(path, error));
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(&bytes).map_err(|error| match error {
            pem::Error::NoItemsFound => {
                KeyError::new(path, "there is no public key (PEM or JWKS) in it")
            }
            other => KeyError::new(path, other),
        })?;
        let public = Public::of_spki(&der);
        let public = public
            .ok_or_else(|| KeyError::new(path, "not a public key of Ed25519, P-256 or RSA"))?;
        Ok(vec![Self { kid: None, public }])
    }
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
    use crate::session::token::signers::Signer;

    #[test]
    fn public_keys_of_three_kinds_are_read_from_files() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("public.pem");
        for signer in Signer::all() {
            std::fs::write(&path, signer.public_pem()).unwrap();
            let [key] = &*VerifyingKey::load(&path).unwrap() else { panic!("one key") };
            assert_eq!(key.kid, None);
            assert_eq!(key.public.algorithm(), signer.algorithm());
            assert!(key.public.has_signed(b"text", &signer.sign(b"text")));
            assert!(!key.public.has_signed(b"other", &signer.sign(b"text")));
            // Whole, or not at all.
            let pem = std::fs::read(&path).unwrap();
            let spki = SubjectPublicKeyInfoDer::from_pem_slice(&pem).unwrap();
            for end in 0..spki.len() {
                assert_eq!(Public::of_spki(&spki[..end]), None, "{end}");
            }
            assert_eq!(Public::of_spki(&[&spki[..], &[0]].concat()), None);
        }
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let private = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
        for text in [other.public_key_pem(), private, String::new(), "{}".to_owned()] {
            std::fs::write(&path, text).unwrap();
            let refused = VerifyingKey::load(&path).unwrap_err().to_string();
            assert!(refused.contains("public.pem"), "{refused}");
        }
        std::fs::write(&path, "x".repeat(TOKEN_KEYS_BYTES_MAX + 1)).unwrap();
        assert!(VerifyingKey::load(&path).is_err());
    }
}
