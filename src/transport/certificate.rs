//! A certificate with its key, and the pin that clients know it by: the operator's, or one that
//! the server makes.
//!
//! ```text
//! ca-key.pem  made once, secret: the pin hangs on it alone
//! ca.pem      made from it, for tools that want a CA file
//! leaf        made anew at each start, in memory: never too old, never for yesterday's names
//! ```
//!
//! The CA travels in the chain, so that a client finds the pinned key without a CA file.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use damso_proto::id::ID_EPOCH_MS;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use rustls::crypto::ring as provider;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;

use super::validity::Validity;
use crate::model::limits;
use crate::runtime::private_file;

/// Names that a development certificate is always good for.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// A leaf lasts longer than a process runs, and no longer than Apple's systems accept.
const LEAF_TIME: Duration = Duration::from_hours(820 * 24);
/// A clock beyond the year 5,000 is wrong.
const CLOCK_MAX: Duration = Duration::from_hours(3_000 * 365 * 24);

/// A certificate chain, leaf first, with the leaf's key.
#[derive(Clone, Debug)]
pub struct Certificate {
    key: Arc<CertifiedKey>,
    pin: String,
    validity: Validity,
}

impl Certificate {
    /// What handshakes are signed with.
    pub(super) fn key(&self) -> Arc<CertifiedKey> {
        self.key.clone()
    }

    /// `sha256-` and the hash of a public key of the chain, for connection strings.
    pub fn pin(&self) -> &str {
        &self.pin
    }

    /// When the leaf is good.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether clients would see no difference.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.key.cert == other.key.cert
    }
}

/// Why there is no certificate to serve with.
#[derive(thiserror::Error, Debug)]
pub enum CertificateError {
    /// A file cannot be used.
    #[error("cannot use {}: {reason}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        reason: io::Error,
    },
    /// The private key cannot be used.
    #[error("cannot use {}: {reason}", .path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// Why not.
        reason: io::Error,
    },
    /// The key is another certificate's.
    #[error("{} is not the key of {}", .key.display(), .chain.display())]
    Mismatch {
        /// The certificate.
        chain: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// A name that no certificate can have.
    #[error("{name:?} is no host name or address")]
    Name {
        /// As the operator gave it.
        name: String,
    },
    /// The libraries refused.
    #[error("cannot set TLS up: {0}")]
    Library(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl CertificateError {
    fn file(path: &Path, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::File { path: path.into(), reason: io::Error::other(reason) }
    }

    fn key(path: &Path, reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Key { path: path.into(), reason: io::Error::other(reason) }
    }

    pub(super) fn library(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Library(error.into())
    }

    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::File { .. } => {
                "give a certificate chain as a PEM file, the server's own certificate first"
            }
            Self::Key { .. } => {
                "give the certificate's private key as an unencrypted PEM file that this user can \
                 read"
            }
            Self::Mismatch { .. } => {
                "give the key that this certificate was made for, or the certificate of this key"
            }
            Self::Name { .. } | Self::Library(_) => "give another certificate",
        }
    }
}

/// A certificate of the server's own, good for localhost and `names`, under the CA in
/// `directory`, which is made if there is none. `now_ms`: milliseconds since 1970.
///
/// # Errors
/// [`CertificateError`] names the file or the name at fault.
pub fn development(
    directory: &Path,
    names: &[String],
    now_ms: u64,
) -> Result<Certificate, CertificateError> {
    let key = ca_key(&directory.join("ca-key.pem"))?;
    let ca = ca_certificate(&directory.join("ca.pem"), &key)?;
    let pin = pin(&key.subject_public_key_info());
    let leaf_key = new_key()?;
    let mut params = leaf_params(names)?;
    let now_ms = now_ms.max(ID_EPOCH_MS);
    // Years beyond 9999 have no form in a certificate.
    let now = Duration::from_millis(now_ms).min(CLOCK_MAX);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + now + LEAF_TIME;
    let leaf = params
        .signed_by(&leaf_key, &Issuer::new(ca_params(), key))
        .map_err(CertificateError::library)?;
    let chain = vec![leaf.der().clone(), ca];
    let leaf_key = PrivatePkcs8KeyDer::from(leaf_key.serialize_der()).into();
    let key = certified(chain, leaf_key).map_err(CertificateError::library)?;
    let validity = Validity::of(leaf.der()).map_err(CertificateError::library)?;
    Ok(Certificate { key, pin, validity })
}

/// The operator's certificate: a chain, leaf first, and the leaf's private key, both PEM.
/// The pin is that of the leaf. Whether it is good today is not asked.
///
/// # Errors
/// [`CertificateError`] names the file at fault.
pub fn load(chain_path: &Path, key_path: &Path) -> Result<Certificate, CertificateError> {
    let certificate = read(chain_path, key_path)?;
    warn_if_open(key_path)?;
    Ok(certificate)
}

/// The same, without a warning about a key that others can read.
///
/// # Errors
/// [`CertificateError`] names the file at fault.
pub fn read(chain_path: &Path, key_path: &Path) -> Result<Certificate, CertificateError> {
    let chain = open(chain_path)
        .map_err(pem::Error::Io)
        .and_then(|file| CertificateDer::pem_reader_iter(file).collect::<Result<Vec<_>, _>>())
        .map_err(|error| match error {
            pem::Error::Io(reason) => CertificateError::File { path: chain_path.into(), reason },
            other => CertificateError::file(chain_path, other),
        })?;
    let leaf = chain
        .first()
        .ok_or_else(|| CertificateError::file(chain_path, "there is no certificate (PEM) in it"))?;
    let parsed = ParsedCertificate::try_from(leaf)
        .map_err(|error| CertificateError::file(chain_path, error))?;
    let pin = pin(&parsed.subject_public_key_info());
    let validity = Validity::of(leaf)
        .map_err(|error| CertificateError::file(chain_path, error.to_string()))?;
    let key = open(key_path).map_err(pem::Error::Io).and_then(PrivateKeyDer::from_pem_reader);
    let key = key.map_err(|error| match error {
        pem::Error::Io(reason) => CertificateError::Key { path: key_path.into(), reason },
        pem::Error::NoItemsFound => {
            CertificateError::key(key_path, "there is no private key (PEM) in it")
        }
        other => CertificateError::key(key_path, other),
    })?;
    let key = certified(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            CertificateError::Mismatch { chain: chain_path.into(), key: key_path.into() }
        }
        other => CertificateError::key(key_path, other),
    })?;
    Ok(Certificate { key, pin, validity })
}

/// A file of a bounded length.
fn open(path: &Path) -> io::Result<impl Read> {
    let file = File::open(path)?;
    if file.metadata()?.len() > limits::CERTIFICATE_FILE_BYTES_MAX {
        let what = format!("it is longer than {} bytes", limits::CERTIFICATE_FILE_BYTES_MAX);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    // One that grows, or is no file, ends there.
    Ok(file.take(limits::CERTIFICATE_FILE_BYTES_MAX))
}

/// Whether a certificate can be made out for this: a host name, perhaps `*.` before it, or an IP
/// address.
pub fn is_name(name: &str) -> bool {
    let bare = name.strip_prefix("*.").unwrap_or(name);
    ServerName::try_from(bare).is_ok() && CertificateParams::new(vec![name.to_owned()]).is_ok()
}

/// The key must be the leaf's.
fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<CertifiedKey>, rustls::Error> {
    CertifiedKey::from_der(chain, key, &provider::default_provider()).map(Arc::new)
}

fn ca_key(path: &Path) -> Result<KeyPair, CertificateError> {
    let made = match std::fs::exists(path) {
        Ok(true) => Ok(()),
        Ok(false) => private_file::create(path, new_key()?.serialize_pem().as_bytes()),
        Err(error) => Err(error),
    };
    match made {
        // Made by somebody else in between: theirs counts.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(CertificateError::File { path: path.into(), reason: error });
        }
        _ => warn_if_open(path)?,
    }
    let pem = std::fs::read_to_string(path)
        .map_err(|reason| CertificateError::File { path: path.into(), reason })?;
    KeyPair::from_pem(&pem).map_err(|error| CertificateError::file(path, error))
}

/// The CA's certificate, made again if it is missing or of another key.
fn ca_certificate(path: &Path, key: &KeyPair) -> Result<CertificateDer<'static>, CertificateError> {
    if let Ok(stored) = CertificateDer::from_pem_file(path)
        && let Ok(parsed) = ParsedCertificate::try_from(&stored)
        && *parsed.subject_public_key_info() == *key.subject_public_key_info()
    {
        return Ok(stored);
    }
    let made = ca_params().self_signed(key).map_err(CertificateError::library)?;
    let written = match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => private_file::create(path, made.pem().as_bytes()),
    };
    written.map_err(|reason| CertificateError::File { path: path.into(), reason })?;
    Ok(made.der().clone())
}

fn new_key() -> Result<KeyPair, CertificateError> {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(CertificateError::library)
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "damso development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // Fixed, so that a clock that is wrong at the first start does no lasting harm.
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2126, 1, 1);
    params
}

fn leaf_params(names: &[String]) -> Result<CertificateParams, CertificateError> {
    let mut all: Vec<String> = LOCAL_NAMES.map(String::from).to_vec();
    for name in names {
        if !is_name(name) {
            return Err(CertificateError::Name { name: name.clone() });
        }
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    let mut params = CertificateParams::new(all).map_err(CertificateError::library)?;
    params.distinguished_name.push(DnType::CommonName, "damso");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    Ok(params)
}

fn warn_if_open(path: &Path) -> Result<(), CertificateError> {
    let open = private_file::is_open_to_others(path)
        .map_err(|reason| CertificateError::File { path: path.into(), reason })?;
    if open {
        tracing::warn!(path = %path.display(), "others can read this key: chmod 600");
    }
    Ok(())
}

/// The pin of a public key (DER, SubjectPublicKeyInfo).
pub(super) fn pin(public_key: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, public_key);
    format!("sha256-{}", BASE64.encode(hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    #[test]
    fn a_name_is_a_host_name_or_an_address() {
        for name in ["chat.example", "*.chat.example", "localhost", "10.0.0.1", "::1"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "https://chat.example", "chat.example:443", "a b", "*", "a.*", "채팅"] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn a_clock_far_off_still_serves() {
        for now_ms in [0, u64::MAX] {
            let place = tempfile::tempdir().unwrap();
            assert!(development(place.path(), &[], now_ms).is_ok(), "{now_ms}");
        }
    }

    #[test]
    fn an_error_names_what_is_at_fault() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        let made = rcgen::generate_simple_self_signed(vec!["chat.example".into()]).unwrap();
        std::fs::write(path("chain.pem"), made.cert.pem()).unwrap();
        std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(path("other.pem"), new_key().unwrap().serialize_pem()).unwrap();
        std::fs::write(path("empty.pem"), "").unwrap();
        let long = " ".repeat(usize::try_from(limits::CERTIFICATE_FILE_BYTES_MAX).unwrap() + 1);
        std::fs::write(path("long.pem"), long).unwrap();
        let made_of = load(&path("chain.pem"), &path("key.pem")).unwrap();
        assert_eq!(made_of.pin(), pin(&made.signing_key.subject_public_key_info()));
        for (chain, key, at_fault) in [
            ("missing.pem", "key.pem", "missing.pem"),
            ("empty.pem", "key.pem", "empty.pem"),
            ("long.pem", "key.pem", "long.pem"),
            ("chain.pem", "long.pem", "long.pem"),
            ("chain.pem", "missing.pem", "missing.pem"),
            ("chain.pem", "empty.pem", "empty.pem"),
            ("chain.pem", "other.pem", "other.pem"),
        ] {
            let error = load(&path(chain), &path(key)).unwrap_err().to_string();
            assert!(error.contains(at_fault), "{error}");
        }
        for name in ["", "ä.example"] {
            let error = development(place.path(), &[name.into()], NOW_MS).unwrap_err();
            assert!(matches!(&error, CertificateError::Name { .. }), "{error}");
        }
        std::fs::write(path("ca-key.pem"), "not a key").unwrap();
        let error = development(place.path(), &[], NOW_MS).unwrap_err().to_string();
        assert!(error.contains("ca-key.pem"), "{error}");
    }
}
