//! Who is believed, and who is not, with certificates made on the spot.

use std::io;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData as _};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConnection, ServerConfig, ServerConnection};

use super::*;

/// A chain as a server sends it, and the pins of its keys.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: PrivateKeyDer<'static>,
    pub(crate) ca_pin: Pin,
    pub(crate) leaf_pin: Pin,
    pub(crate) ca_pem: String,
}

pub(crate) fn identity(names: &[&str]) -> Identity {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca_params = CertificateParams::default();
    ca_params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = ca_params.self_signed(&ca_key).expect("a CA");
    let leaf_key = KeyPair::generate().expect("a key");
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let ca_pin = pin(&ca_key);
    let leaf = CertificateParams::new(names)
        .and_then(|leaf| leaf.signed_by(&leaf_key, &Issuer::new(ca_params, ca_key)))
        .expect("a leaf");
    Identity {
        chain: vec![leaf.der().clone(), ca.der().clone()],
        leaf_pin: pin(&leaf_key),
        key: PrivateKeyDer::try_from(leaf_key.serialize_der()).expect("a private key"),
        ca_pin,
        ca_pem: ca.pem(),
    }
}

fn pin(key: &KeyPair) -> Pin {
    let hash = ::ring::digest::digest(&::ring::digest::SHA256, &key.subject_public_key_info());
    Pin(hash.as_ref().try_into().expect("32 bytes"))
}

pub(crate) fn server_config(identity: Identity) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(identity.chain, identity.key)
        .expect("a usable chain");
    config.alpn_protocols = vec![ALPN.to_vec()];
    Arc::new(config)
}

/// A handshake in memory, as the client sees it end.
fn handshake(identity: Identity, trust: &Trust, pin: Option<Pin>, host: &str) -> Result<(), Error> {
    let config = config(trust, pin).expect("a configuration");
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let mut client = ClientConnection::new(config, name).expect("a client");
    let mut server = ServerConnection::new(server_config(identity)).expect("a server");
    while client.is_handshaking() {
        let mut up = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut up).expect("memory takes all");
        }
        server.read_tls(&mut io::Cursor::new(up)).expect("memory gives all");
        server.process_new_packets()?;
        let mut down = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut down).expect("memory takes all");
        }
        client.read_tls(&mut io::Cursor::new(down)).expect("memory gives all");
        client.process_new_packets()?;
    }
    Ok(())
}

#[test]
fn a_pinned_key_is_believed_as_the_chains_root_or_as_its_leaf() {
    for host in ["localhost", "127.0.0.1", "::1"] {
        let root = identity(&["localhost", "127.0.0.1", "::1"]);
        let pin = root.ca_pin;
        assert_eq!(handshake(root, &Trust::default(), Some(pin), host), Ok(()), "{host}");
        let leaf = identity(&["localhost", "127.0.0.1", "::1"]);
        let pin = leaf.leaf_pin;
        assert_eq!(handshake(leaf, &Trust::default(), Some(pin), host), Ok(()), "{host}");
    }
}

#[test]
fn another_key_is_refused_and_the_error_says_so() {
    let pin = identity(&["localhost"]).ca_pin;
    let refused = handshake(identity(&["localhost"]), &Trust::default(), Some(pin), "localhost");
    let text = refused.expect_err("another server").to_string();
    assert!(text.contains("pinned key") && text.contains(&pin.to_string()), "{text}");
}

#[test]
fn a_chain_that_only_shows_the_pinned_certificate_is_refused() {
    let (pinned, mut thief) = (identity(&["localhost"]), identity(&["localhost"]));
    thief.chain.extend(pinned.chain.last().cloned());
    let refused = handshake(thief, &Trust::default(), Some(pinned.ca_pin), "localhost");
    assert!(refused.is_err(), "the leaf is not signed by the pinned key");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    for pin_of in [|it: &Identity| it.ca_pin, |it: &Identity| it.leaf_pin] {
        let other = identity(&["other.example"]);
        let pin = pin_of(&other);
        assert!(handshake(other, &Trust::default(), Some(pin), "localhost").is_err());
    }
}

#[test]
fn given_roots_are_believed_alone() {
    let ours = identity(&["localhost"]);
    let trust = Trust::Roots(ours.ca_pem.clone().into());
    assert_eq!(handshake(ours, &trust, None, "localhost"), Ok(()));
    assert!(handshake(identity(&["localhost"]), &trust, None, "localhost").is_err());
    assert!(config(&Trust::Roots(b"no certificate".to_vec()), None).is_err());
}
