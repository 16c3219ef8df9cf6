//! Where a run goes: the address, the TLS configuration that a pin asks for, and tokens.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use damso_proto::address::{AddressError, ConnectionString, Pin};
use ring::signature::Ed25519KeyPair;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    Resumption, UnbufferedClientConnection, verify_server_cert_signed_by_trust_anchor,
};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::pipe::{Pipe, PipeError};

/// What both ends call the protocol.
pub const ALPN: &[u8] = b"damso/1";
/// Begins the address of a target without TLS.
pub const PLAIN: &str = "plain://";

/// Why a target cannot be used.
#[derive(thiserror::Error, Debug)]
pub enum TargetError {
    /// No connection string.
    #[error("--url: {0}")]
    Address(#[from] AddressError),
    /// Its host is not found.
    #[error("{host}: {cause}")]
    Unknown {
        /// The host and port asked for.
        host: String,
        /// What the resolver said.
        #[source]
        cause: std::io::Error,
    },
    /// Without a pin nobody vouches for a development certificate.
    #[error("--url has no pin; take the whole connection string that the server prints")]
    NoPin,
    /// rustls refuses the configuration.
    #[error("TLS: {0}")]
    Tls(#[from] Error),
    /// A name that no server can have, or a CA that is none.
    #[error("peer: {0}")]
    Peer(String),
    /// The key file cannot be read.
    #[error("--token-key {path}: {what}")]
    Key {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: String,
    },
}

/// A resolved target.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where to connect.
    pub address: SocketAddr,
    /// Its name, for TLS.
    pub name: ServerName<'static>,
    /// How to speak TLS with it. `None`: it is spoken to in the clear.
    pub tls: Option<Arc<ClientConfig>>,
}

impl Target {
    /// Reads a connection string, whose token, if any, is not used; or `plain://ADDRESS:PORT`.
    ///
    /// # Errors
    /// [`TargetError`]: it is none, its host is unknown, or it has no pin.
    pub fn parse(url: &str) -> Result<Self, TargetError> {
        if let Some(Ok(address)) = url.strip_prefix(PLAIN).map(str::parse) {
            return Ok(Self::plain(address));
        }
        let parsed: ConnectionString = url.parse()?;
        let host = parsed.authority();
        let unknown = |cause| TargetError::Unknown { host: host.clone(), cause };
        let address = host.to_socket_addrs().map_err(unknown)?.next().ok_or_else(|| {
            unknown(std::io::Error::new(std::io::ErrorKind::NotFound, "no address"))
        })?;
        let name = ServerName::try_from(parsed.host.clone())
            .map_err(|_| AddressError::Host(parsed.host.clone()))?;
        let pin = parsed.pin.ok_or(TargetError::NoPin)?;
        Ok(Self { address, name, tls: Some(tls(pin)?) })
    }

    /// A target without TLS.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, name: ServerName::IpAddress(address.ip().into()), tls: None }
    }

    /// Puts a pipe on a socket that connects to this target; it is still to be started.
    ///
    /// # Errors
    /// [`PipeError::Tls`]: rustls does not take the configuration.
    pub fn pipe(&self, socket: OwnedFd) -> Result<Pipe<UnbufferedClientConnection>, PipeError> {
        let Some(config) = &self.tls else { return Ok(Pipe::plain(socket)) };
        let tls = UnbufferedClientConnection::new(config.clone(), self.name.clone())?;
        Ok(Pipe::new(socket, tls))
    }

    /// A server of another kind, whose certificate for `name` the CA in `ca_pem` vouches for. No
    /// ALPN: it speaks one protocol only.
    ///
    /// # Errors
    /// [`TargetError::Peer`]: no name, or no certificate.
    pub fn with_ca(address: SocketAddr, name: &str, ca_pem: &str) -> Result<Self, TargetError> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| TargetError::Peer(format!("{name:?}: {error}")))?;
        let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes())
            .map_err(|error| TargetError::Peer(format!("its CA: {error}")))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca).map_err(|error| TargetError::Peer(format!("its CA: {error}")))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = Resumption::disabled();
        Ok(Self { address, name, tls: Some(Arc::new(config)) })
    }
}

/// TLS 1.3 with the pinned key, every handshake a full one, so that all cost the same.
fn tls(pin: Pin) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Pinned { pin, provider: provider.clone() });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Accepts a chain that the pinned key vouches for: as the server's own, or as its issuer's.
#[derive(Debug)]
struct Pinned {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    fn is_pinned(&self, certificate: &ParsedCertificate<'_>) -> bool {
        let key = certificate.subject_public_key_info();
        ring::digest::digest(&ring::digest::SHA256, &key).as_ref() == self.pin.0
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = ParsedCertificate::try_from(end_entity)?;
        if self.is_pinned(&leaf) {
            return Ok(ServerCertVerified::assertion());
        }
        let issuer = intermediates.iter().find(|certificate| {
            ParsedCertificate::try_from(*certificate).is_ok_and(|parsed| self.is_pinned(&parsed))
        });
        let Some(issuer) = issuer else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        let mut roots = RootCertStore::empty();
        roots.add(issuer.clone())?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &roots, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Makes tokens for the people of a run.
#[derive(Debug)]
pub struct Issuer(Ed25519KeyPair);

impl Issuer {
    /// Reads an Ed25519 key in PKCS#8, DER or PEM.
    ///
    /// # Errors
    /// [`TargetError::Key`].
    pub fn read(path: &Path) -> Result<Self, TargetError> {
        let wrong = |what: String| TargetError::Key { path: path.display().to_string(), what };
        let bytes = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        let der = match std::str::from_utf8(&bytes) {
            Ok(text) if text.trim_start().starts_with("-----BEGIN") => {
                let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
                STANDARD.decode(body.trim()).map_err(|error| wrong(error.to_string()))?
            }
            _ => bytes,
        };
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map(Self)
            .map_err(|error| wrong(format!("no Ed25519 key in PKCS#8: {error}")))
    }

    /// A token for `uid` that is good from `unix_s` for `seconds`.
    pub fn token(&self, uid: &str, unix_s: u64, seconds: u64) -> String {
        let header = r#"{"alg":"EdDSA","typ":"JWT"}"#;
        let claims = serde_json::json!({
            "sub": uid,
            "aud": "damso",
            "iat": unix_s,
            "exp": unix_s + seconds,
        });
        let text = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header),
            URL_SAFE_NO_PAD.encode(claims.to_string())
        );
        let signature = self.0.sign(text.as_bytes());
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_carries_its_claims_and_a_signature_that_fits() {
        let directory = tempfile::tempdir().unwrap();
        let random = ring::rand::SystemRandom::new();
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(&pkcs8)
        );
        for (file, bytes) in [("key.der", pkcs8.as_ref()), ("key.pem", pem.as_bytes())] {
            let path = directory.path().join(file);
            std::fs::write(&path, bytes).unwrap();
            let issuer = Issuer::read(&path).unwrap();
            let token = issuer.token("민수", 1_800_000_000, 60);
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let key = ring::signature::KeyPair::public_key(&issuer.0).as_ref().to_vec();
            ring::signature::UnparsedPublicKey::new(&ring::signature::ED25519, key)
                .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
                .unwrap();
            let claims = URL_SAFE_NO_PAD.decode(signed.split_once('.').unwrap().1).unwrap();
            let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
            assert_eq!(claims["sub"], "민수");
            assert_eq!(claims["exp"], 1_800_000_060_u64);
        }
    }

    #[test]
    fn a_file_that_is_no_key_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Issuer::read(file.path()).unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
    }

    #[test]
    fn a_target_without_a_pin_is_not_trusted() {
        let error = Target::parse("damso://127.0.0.1:7443").unwrap_err();
        assert!(matches!(error, TargetError::NoPin), "{error}");
    }

    #[test]
    fn a_peer_needs_a_name_and_a_ca() {
        let address = ([127, 0, 0, 1], 1).into();
        let key = rcgen::KeyPair::generate().unwrap();
        let ca = rcgen::CertificateParams::default().self_signed(&key).unwrap().pem();
        assert!(Target::with_ca(address, "localhost", &ca).is_ok());
        for (name, ca) in [("no name", &ca[..]), ("localhost", ""), ("localhost", "no PEM")] {
            let error = Target::with_ca(address, name, ca).unwrap_err();
            assert!(matches!(error, TargetError::Peer(_)), "{error}");
        }
    }

    #[test]
    fn a_plain_target_needs_no_pin() {
        let target = Target::parse("plain://127.0.0.1:7444").unwrap();
        assert_eq!(target.address, "127.0.0.1:7444".parse().unwrap());
        assert!(target.tls.is_none());
        assert!(Target::parse("plain://127.0.0.1").is_err());
    }
}
