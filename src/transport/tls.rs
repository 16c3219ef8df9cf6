//! One TLS configuration for all shards, and the certificate that it shows, which can be replaced.
//!
//! The configuration itself lasts as long as the process, and with it the keys that tickets are
//! sealed with: a device that comes back resumes across a renewal. It does not see the new
//! certificate then, and need not: its ticket can be opened by the server that it has checked, and
//! by nobody who came by the old certificate's key. The ticketer's own keys go after 12 hours.

use std::sync::{Arc, PoisonError, RwLock};

use metrics::gauge;
use rustls::ServerConfig;
use rustls::crypto::ring as provider;
use rustls::crypto::ring::cipher_suite;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::{Certificate, CertificateError};

/// What this protocol is called in TLS. A client that offers no name is rustls' to accept
/// and ours to refuse.
pub const ALPN: &[u8] = b"damso/1";

/// The server's side of TLS. All clones show the same certificate.
#[derive(Clone, Debug)]
pub struct Tls {
    /// For every connection: TLS 1.3 alone, one stateless ticket, nothing before the handshake.
    pub config: Arc<ServerConfig>,
    shown: Arc<Shown>,
}

/// What handshakes are answered with. Shards read it once a handshake, and a thread that is no
/// shard writes it once a renewal. Readers do not wait for each other, and the lock is held for an
/// `Arc`'s clone: 12 ns, 25 with two readers at a time, of the 110 us that a handshake takes.
#[derive(Debug)]
struct Shown(RwLock<Arc<Certificate>>);

impl Tls {
    /// Shows this certificate first.
    ///
    /// # Errors
    /// The libraries refuse.
    pub fn new(certificate: Certificate) -> Result<Self, CertificateError> {
        told(&certificate);
        let shown = Arc::new(Shown(RwLock::new(Arc::new(certificate))));
        let config = config(shown.clone()).map_err(CertificateError::library)?;
        Ok(Self { config: Arc::new(config), shown })
    }

    /// Shows this one from the next handshake on.
    pub fn show(&self, certificate: Certificate) {
        told(&certificate);
        let mut shown = self.shown.0.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *shown, Arc::new(certificate));
        drop(shown);
        // What may be the last of it goes without the lock.
        drop(old);
    }

    /// What is shown now.
    pub fn certificate(&self) -> Arc<Certificate> {
        self.shown.get()
    }

    /// The pin of what is shown now, for connection strings.
    pub fn pin(&self) -> String {
        self.shown.get().pin().to_owned()
    }
}

impl Shown {
    fn get(&self) -> Arc<Certificate> {
        // It holds one whole certificate whatever happened to a thread.
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.get().key())
    }
}

fn told(certificate: &Certificate) {
    gauge!("damso_certificate_not_after_seconds").set(certificate.validity().not_after as f64);
}

fn config(shown: Arc<Shown>) -> Result<ServerConfig, rustls::Error> {
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
        .with_cert_resolver(shown);
    config.ignore_client_order = true;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Tickets hold the session, so that nothing is kept for a client that may never return.
    config.ticketer = provider::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    // What is sent before the handshake is over could be replayed.
    config.max_early_data_size = 0;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rustls::client::WebPkiServerVerifier;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::server::ParsedCertificate;
    use rustls::{
        ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore,
        ServerConnection,
    };

    use super::super::certificate::{development, pin};
    use super::*;
    use crate::runtime::private_file;

    const NOW_MS: u64 = 1_800_000_000_000;

    /// With a development certificate under the CA in `directory`.
    fn made(directory: &Path, names: &[String], now_ms: u64) -> Result<Tls, CertificateError> {
        Tls::new(development(directory, names, now_ms)?)
    }

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
    fn every_name_of_the_server_is_good_and_no_other() {
        let place = tempfile::tempdir().unwrap();
        let tls = made(place.path(), &["chat.example".into()], NOW_MS).unwrap();
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
        let tls = made(place.path(), &[], NOW_MS).unwrap();
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
        let first = made(place.path(), &[], NOW_MS).unwrap();
        let connected =
            connect(&first, &client(place.path(), &[&rustls::version::TLS13]), "localhost");
        let chain = connected.unwrap().peer_certificates().unwrap().to_vec();
        let pins = chain.iter().map(|certificate| {
            pin(&ParsedCertificate::try_from(certificate).unwrap().subject_public_key_info())
        });
        assert_eq!(pins.filter(|pin| *pin == first.pin()).count(), 1);
        assert_eq!(first.pin().len(), "sha256-".len() + 43);
        // A lost certificate is made again, of the same key; so is one of another key.
        for damage in [None, Some("")] {
            let path = place.path().join("ca.pem");
            match damage {
                None => std::fs::remove_file(&path).unwrap(),
                Some(text) => std::fs::write(&path, text).unwrap(),
            }
            let again = made(place.path(), &["new.example".into()], NOW_MS).unwrap();
            assert_eq!(again.pin(), first.pin());
            let client = client(place.path(), &[&rustls::version::TLS13]);
            assert!(connect(&again, &client, "new.example").is_ok());
        }
        assert!(!private_file::is_open_to_others(&place.path().join("ca-key.pem")).unwrap());
    }
}
