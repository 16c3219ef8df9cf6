//! The server's side of TLS, and the pin that clients know it by.
//!
//! ```text
//! ca-key.pem  made once, secret: the pin hangs on it alone
//! ca.pem      made from it, for tools that want a CA file
//! leaf        made anew at each start, in memory: never too old, never for yesterday's names
//! ```
//!
//! The CA travels in the chain, so that a client finds the pinned key without a CA file.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use damso_proto::id::ID_EPOCH_MS;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _,
};
use rustls::ServerConfig;
use rustls::crypto::ring as provider;
use rustls::crypto::ring::cipher_suite;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{NoServerSessionStorage, ParsedCertificate};

use crate::runtime::private_file;

/// What this protocol is called in TLS. A client that offers no name is rustls' to accept
/// and ours to refuse.
pub const ALPN: &[u8] = b"damso/1";

/// Names that a development certificate is always good for.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
/// A leaf lasts longer than a process runs, and no longer than Apple's systems accept.
const LEAF_TIME: Duration = Duration::from_hours(820 * 24);
/// A clock beyond the year 5,000 is wrong.
const CLOCK_MAX: Duration = Duration::from_hours(3_000 * 365 * 24);

/// The server's side of TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// For every connection: TLS 1.3 alone, one stateless ticket, nothing before the handshake.
    pub config: Arc<ServerConfig>,
    /// `sha256-` and the hash of a public key of the chain, for connection strings.
    pub pin: String,
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

    fn library(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Library(error.into())
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
) -> Result<Tls, CertificateError> {
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
    let config = config(chain, leaf_key).map_err(CertificateError::library)?;
    Ok(Tls { config, pin })
}

/// The operator's certificate: a chain, leaf first, and the leaf's private key, both PEM.
/// The pin is that of the leaf.
///
/// # Errors
/// [`CertificateError`] names the file at fault.
pub fn load(chain_path: &Path, key_path: &Path) -> Result<Tls, CertificateError> {
    let tls = read(chain_path, key_path)?;
    warn_if_open(key_path)?;
    Ok(tls)
}

/// The same, without a warning about a key that others can read.
///
/// # Errors
/// [`CertificateError`] names the file at fault.
pub fn read(chain_path: &Path, key_path: &Path) -> Result<Tls, CertificateError> {
    let chain = CertificateDer::pem_file_iter(chain_path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| match error {
            pem::Error::Io(reason) => CertificateError::File { path: chain_path.into(), reason },
            other => CertificateError::file(chain_path, other),
        })?;
    let leaf = chain
        .first()
        .ok_or_else(|| CertificateError::file(chain_path, "there is no certificate (PEM) in it"))?;
    let leaf = ParsedCertificate::try_from(leaf)
        .map_err(|error| CertificateError::file(chain_path, error))?;
    let pin = pin(&leaf.subject_public_key_info());
    let key = PrivateKeyDer::from_pem_file(key_path).map_err(|error| match error {
        pem::Error::Io(reason) => CertificateError::Key { path: key_path.into(), reason },
        pem::Error::NoItemsFound => {
            CertificateError::key(key_path, "there is no private key (PEM) in it")
        }
        other => CertificateError::key(key_path, other),
    })?;
    let config = config(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            CertificateError::Mismatch { chain: chain_path.into(), key: key_path.into() }
        }
        other => CertificateError::key(key_path, other),
    })?;
    Ok(Tls { config, pin })
}

/// Whether a certificate can be made out for this: a host name, perhaps `*.` before it, or an IP
/// address.
pub fn is_name(name: &str) -> bool {
    let bare = name.strip_prefix("*.").unwrap_or(name);
    ServerName::try_from(bare).is_ok() && CertificateParams::new(vec![name.to_owned()]).is_ok()
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut crypto = provider::default_provider();
    // The cheapest first, and the server's order counts: fan-out is encryption above all.
    crypto.cipher_suites = vec![
        cipher_suite::TLS13_AES_128_GCM_SHA256,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        cipher_suite::TLS13_AES_256_GCM_SHA384,
    ];
    let mut config = ServerConfig::builder_with_provider(Arc::new(crypto))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.ignore_client_order = true;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Tickets hold the session, so that nothing is kept for a client that may never return.
    config.ticketer = provider::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    // What is sent before the handshake is over could be replayed.
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
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
fn pin(public_key: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, public_key);
    format!("sha256-{}", BASE64.encode(hash))
}

#[cfg(test)]
mod tests {
    use rustls::client::WebPkiServerVerifier;
    use rustls::{
        ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore,
        ServerConnection,
    };

    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    /// A client that trusts the CA in `directory` and nothing else.
    fn client(
        directory: &Path,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(directory.join("ca.pem")).unwrap()).unwrap();
        let crypto = Arc::new(provider::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), crypto.clone());
        let mut config = ClientConfig::builder_with_provider(crypto)
            .with_protocol_versions(versions)
            .unwrap()
            .with_webpki_verifier(verifier.build().unwrap())
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.to_vec()];
        Arc::new(config)
    }

    /// Shakes hands in memory, the ticket that follows included.
    fn connect(
        tls: &Tls,
        client: &Arc<ClientConfig>,
        name: &str,
    ) -> Result<ClientConnection, rustls::Error> {
        let mut server = ServerConnection::new(tls.config.clone()).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(client.clone(), name)?;
        while client.wants_write() || server.wants_write() {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            server.read_tls(&mut bytes.as_slice()).unwrap();
            let served = server.process_new_packets().map(drop);
            bytes.clear();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            client.read_tls(&mut bytes.as_slice()).unwrap();
            client.process_new_packets()?;
            served?;
        }
        assert!(!client.is_handshaking());
        Ok(client)
    }

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
    fn every_name_of_the_server_is_good_and_no_other() {
        let place = tempfile::tempdir().unwrap();
        let tls = development(place.path(), &["chat.example".into()], NOW_MS).unwrap();
        let client = client(place.path(), &[&rustls::version::TLS13]);
        for name in ["localhost", "127.0.0.1", "::1", "chat.example"] {
            assert!(connect(&tls, &client, name).is_ok(), "{name}");
        }
        for name in ["elsewhere.example", "127.0.0.2"] {
            assert!(connect(&tls, &client, name).is_err(), "{name}");
        }
    }

    #[test]
    fn it_is_tls_1_3_with_the_cheapest_suite_our_protocol_and_one_ticket() {
        let place = tempfile::tempdir().unwrap();
        let tls = development(place.path(), &[], NOW_MS).unwrap();
        let modern = client(place.path(), &[&rustls::version::TLS13, &rustls::version::TLS12]);
        let connected = connect(&tls, &modern, "localhost").unwrap();
        assert_eq!(connected.protocol_version(), Some(ProtocolVersion::TLSv1_3));
        assert_eq!(connected.alpn_protocol(), Some(ALPN));
        let suite = connected.negotiated_cipher_suite().unwrap().suite();
        assert_eq!(suite, rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(connected.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(connected.tls13_tickets_received(), 1);
        let resumed = connect(&tls, &modern, "localhost").unwrap();
        assert_eq!(resumed.handshake_kind(), Some(HandshakeKind::Resumed));
        assert!(!resumed.is_early_data_accepted());
        let old = client(place.path(), &[&rustls::version::TLS12]);
        assert!(connect(&tls, &old, "localhost").is_err());
    }

    #[test]
    fn the_pinned_key_is_in_the_chain_and_outlives_restarts() {
        let place = tempfile::tempdir().unwrap();
        let first = development(place.path(), &[], NOW_MS).unwrap();
        let connected =
            connect(&first, &client(place.path(), &[&rustls::version::TLS13]), "localhost");
        let chain = connected.unwrap().peer_certificates().unwrap().to_vec();
        let pins = chain.iter().map(|certificate| {
            pin(&ParsedCertificate::try_from(certificate).unwrap().subject_public_key_info())
        });
        assert_eq!(pins.filter(|pin| *pin == first.pin).count(), 1);
        assert_eq!(first.pin.len(), "sha256-".len() + 43);
        // A lost certificate is made again, of the same key; so is one of another key.
        for damage in [None, Some("")] {
            let path = place.path().join("ca.pem");
            match damage {
                None => std::fs::remove_file(&path).unwrap(),
                Some(text) => std::fs::write(&path, text).unwrap(),
            }
            let again = development(place.path(), &["new.example".into()], NOW_MS).unwrap();
            assert_eq!(again.pin, first.pin);
            let client = client(place.path(), &[&rustls::version::TLS13]);
            assert!(connect(&again, &client, "new.example").is_ok());
        }
        assert!(!private_file::is_open_to_others(&place.path().join("ca-key.pem")).unwrap());
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
        let tls = load(&path("chain.pem"), &path("key.pem")).unwrap();
        assert_eq!(tls.pin, pin(&made.signing_key.subject_public_key_info()));
        for (chain, key, at_fault) in [
            ("missing.pem", "key.pem", "missing.pem"),
            ("empty.pem", "key.pem", "empty.pem"),
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
