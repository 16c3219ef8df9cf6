//! A certificate for one run.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::ServerConfig;
use rustls::crypto::ring::cipher_suite;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;

use super::BareError;

/// A self-signed P-256 certificate and its key.
#[derive(Debug)]
pub struct Certificate {
    chain: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    /// SHA-256 of its public key, as a connection string carries it.
    pub pin: String,
}

impl Certificate {
    /// Makes one for `localhost`.
    ///
    /// # Errors
    /// [`BareError`]: no randomness.
    pub fn make() -> Result<Self, BareError> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()])
            .map_err(|error| BareError::Certificate(error.to_string()))?;
        let key = ParsedCertificate::try_from(made.cert.der())?.subject_public_key_info();
        let digest = ring::digest::digest(&ring::digest::SHA256, &key);
        Ok(Self {
            chain: made.cert.der().clone(),
            key: PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()),
            pin: format!("sha256-{}", URL_SAFE_NO_PAD.encode(digest)),
        })
    }

    /// TLS 1.3 and the product's suites. No tickets: nobody comes back here.
    ///
    /// # Errors
    /// [`BareError::Tls`]: rustls does not accept the certificate.
    pub fn config(&self) -> Result<Arc<ServerConfig>, BareError> {
        let mut provider = rustls::crypto::ring::default_provider();
        // The product's first choice, or the yardstick would be measured in another cipher.
        provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(
                vec![self.chain.clone()],
                PrivateKeyDer::Pkcs8(self.key.clone_key()),
            )?;
        config.alpn_protocols = vec![b"damso/1".to_vec()];
        config.send_tls13_tickets = 0;
        Ok(Arc::new(config))
    }
}
