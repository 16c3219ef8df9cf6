//! A CA for one run, and a server's certificate under it.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};

/// The name that the certificate is good for.
pub const NAME: &str = "localhost";

/// All of it in PEM. The CA's key is nowhere: it signs once.
pub(super) struct Certificates {
    pub(super) ca: String,
    pub(super) leaf: String,
    pub(super) leaf_key: String,
}

impl Certificates {
    /// P-256, as the product and the bare loop have it: an RSA handshake would cost a peer more.
    pub(super) fn make() -> Result<Self, rcgen::Error> {
        let ca_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut ca = CertificateParams::default();
        ca.distinguished_name.push(DnType::CommonName, "CA of one load run");
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let ca_pem = ca.self_signed(&ca_key)?.pem();

        let leaf_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut leaf = CertificateParams::new(vec![NAME.into(), "127.0.0.1".into()])?;
        leaf.distinguished_name.push(DnType::CommonName, NAME);
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf_pem = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key))?.pem();
        Ok(Self { ca: ca_pem, leaf: leaf_pem, leaf_key: leaf_key.serialize_pem() })
    }
}
