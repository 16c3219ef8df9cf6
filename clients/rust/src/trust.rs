//! Whom to believe to be the server: the holder of a pinned key, or of a certificate under roots.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use damso_proto::address::Pin;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, OtherError, PeerMisbehaved, RootCertStore,
    SignatureScheme,
};

/// What the protocol is called in TLS.
pub(crate) const ALPN: &[u8] = b"damso/1";
/// Certificates of a chain that are looked at.
const CHAIN_MAX: usize = 10;
/// Where systems keep the roots that they trust; the first file that exists is read.
const PLATFORM_ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How the server is known.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// By the pin of the connection string; without one, by the platform's roots.
    #[default]
    ConnectionString,
    /// By these roots alone, as PEM.
    Roots(Vec<u8>),
}

/// Trust cannot be set up.
#[derive(thiserror::Error, Debug)]
pub enum TrustError {
    /// Neither a pin nor a file of roots.
    #[error(
        "the connection string has no pin, and no file of trusted roots was found (SSL_CERT_FILE)"
    )]
    NoRoots,
    /// The roots cannot be read.
    #[error("cannot read the trusted roots: {0}")]
    Unreadable(String),
    /// The TLS library refused.
    #[error("cannot set TLS up: {0}")]
    Tls(#[from] Error),
}

/// The server's chain does not contain the key that the connection string names.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error(
    "the server's certificates do not hold the pinned key {expected}: it is another server, or it has a new key"
)]
pub struct PinMismatch {
    /// The pin of the connection string.
    pub expected: Pin,
}

/// TLS 1.3 with the verifier that `trust` and `pin` ask for.
pub(crate) fn config(trust: &Trust, pin: Option<Pin>) -> Result<Arc<ClientConfig>, TrustError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?;
    let mut config = match (trust, pin) {
        (Trust::ConnectionString, Some(pin)) => {
            let verifier = Arc::new(PinVerifier { pin, provider });
            builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
        }
        (Trust::ConnectionString, None) => {
            let path = platform_roots().ok_or(TrustError::NoRoots)?;
            let certificates = CertificateDer::pem_file_iter(&path)
                .map_err(|error| TrustError::Unreadable(format!("{}: {error}", path.display())))?;
            builder.with_root_certificates(roots(certificates)?).with_no_client_auth()
        }
        (Trust::Roots(pem), _) => builder
            .with_root_certificates(roots(CertificateDer::pem_slice_iter(pem))?)
            .with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

fn platform_roots() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.or_else(|| PLATFORM_ROOTS.map(Path::new).into_iter().find(|p| p.exists()).map(Into::into))
}

fn roots<E: std::fmt::Display>(
    certificates: impl Iterator<Item = Result<CertificateDer<'static>, E>>,
) -> Result<RootCertStore, TrustError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| TrustError::Unreadable(error.to_string()))?;
        // Platforms carry a few roots that no library reads; the others count.
        roots.add_parsable_certificates([certificate]);
    }
    if roots.is_empty() {
        return Err(TrustError::Unreadable("not one usable certificate".into()));
    }
    Ok(roots)
}

/// Believes whoever proves to hold a leaf under the pinned key, or the pinned key itself.
#[derive(Debug)]
struct PinVerifier {
    pin: Pin,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let leaf = ParsedCertificate::try_from(end_entity)?;
        if pin_of(&leaf) != self.pin {
            let pinned = intermediates.iter().take(CHAIN_MAX).find(|certificate| {
                ParsedCertificate::try_from(*certificate).is_ok_and(|ca| pin_of(&ca) == self.pin)
            });
            let mismatch = || OtherError(Arc::new(PinMismatch { expected: self.pin }));
            let mut roots = RootCertStore::empty();
            roots.add(pinned.ok_or_else(mismatch)?.clone().into_owned())?;
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(
                &leaf,
                &roots,
                intermediates,
                now,
                algorithms,
            )?;
        }
        verify_server_name(&leaf, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // Never offered, so never right.
        Err(PeerMisbehaved::SelectedUnofferedKxGroup.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn pin_of(certificate: &ParsedCertificate<'_>) -> Pin {
    let key = certificate.subject_public_key_info();
    let hash = ::ring::digest::digest(&::ring::digest::SHA256, &key);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.as_ref());
    Pin(bytes)
}

#[cfg(test)]
#[path = "trust_tests.rs"]
pub(crate) mod tests;
