//! Keys whose word counts: the public halves, each with its algorithm.
//!
//! A key has one algorithm, whatever a token says of itself: a token that names another is not
//! checked against it.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use rustls::pki_types::{AlgorithmIdentifier, alg_id};

/// DER tags.
const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// How tokens are signed. There is no `none`, and nothing with a shared secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Algorithm {
    EdDsa,
    Es256,
    Rs256,
}

impl Algorithm {
    /// As a token's header names it.
    pub(super) fn of_header(name: &str) -> Option<Self> {
        match name {
            "EdDSA" | "Ed25519" => Some(Self::EdDsa),
            "ES256" => Some(Self::Es256),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }
}

/// The public half of somebody's key who may say who people are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyingKey {
    /// The only `kid` that it answers to; `None`: to each.
    pub(super) kid: Option<String>,
    pub(super) public: Public,
}

/// A public key as its algorithm takes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Public {
    Ed25519([u8; 32]),
    /// 04, x, y.
    P256(Box<[u8]>),
    /// DER of RSAPublicKey.
    Rsa(Box<[u8]>),
    /// Modulus and exponent, big-endian, without leading zeros.
    RsaParts(Box<[u8]>, Box<[u8]>),
}

impl VerifyingKey {
    /// Whether a token that names `kid` may be signed by it.
    pub(super) fn may_be(&self, kid: Option<&str>) -> bool {
        match (&self.kid, kid) {
            (Some(own), Some(asked)) => own == asked,
            _ => true,
        }
    }
}

impl Public {
    /// Of a SubjectPublicKeyInfo: SEQUENCE { SEQUENCE { algorithm }, BIT STRING { key } }.
    pub(super) fn of_spki(der: &[u8]) -> Option<Self> {
        let (info, rest) = read_der(der, SEQUENCE)?;
        let (algorithm, bits) = read_der(info, SEQUENCE)?;
        let (bits, behind) = read_der(bits, BIT_STRING)?;
        // The first byte says how many bits of the last one are not used.
        let key = bits.strip_prefix(&[0])?;
        let is = |known: AlgorithmIdentifier| known.as_ref() == algorithm;
        if !rest.is_empty() || !behind.is_empty() {
            None
        } else if is(alg_id::ED25519) {
            Some(Self::Ed25519(key.try_into().ok()?))
        } else if is(alg_id::ECDSA_P256) {
            Self::p256(key)
        } else if is(alg_id::RSA_ENCRYPTION) {
            Some(Self::Rsa(key.into()))
        } else {
            None
        }
    }

    /// An uncompressed point, the only form that is known here.
    pub(super) fn p256(point: &[u8]) -> Option<Self> {
        (point.len() == 65 && point.first() == Some(&4)).then(|| Self::P256(point.into()))
    }

    pub(super) const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::EdDsa,
            Self::P256(_) => Algorithm::Es256,
            Self::Rsa(_) | Self::RsaParts(..) => Algorithm::Rs256,
        }
    }

    pub(super) fn has_signed(&self, signed: &[u8], signature: &[u8]) -> bool {
        let verified = match self {
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(signed, signature),
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed, signature)
            }
            Self::Rsa(der) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).verify(signed, signature)
            }
            Self::RsaParts(n, e) => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                signed,
                signature,
            ),
        };
        verified.is_ok()
    }
}

/// What `tag` holds at the start of `der`, and what follows it.
fn read_der(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match *der.strip_prefix(&[tag])? {
        [length @ 0..=0x7f, ref rest @ ..] => (usize::from(length), rest),
        [0x81, length, ref rest @ ..] => (usize::from(length), rest),
        [0x82, high, low, ref rest @ ..] => (usize::from(u16::from_be_bytes([high, low])), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// The name of a key that follows from the key (RFC 7638).
pub(super) fn thumbprint(public: &[u8; 32]) -> String {
    let key = BASE64.encode(public);
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{key}"}}"#);
    BASE64.encode(ring::digest::digest(&ring::digest::SHA256, jwk.as_bytes()))
}
