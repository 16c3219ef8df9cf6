//! Keys as their issuer publishes them: a JSON Web Key Set (RFC 7517).
//!
//! ```text
//! {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": ...}    EdDSA
//!           {"kty": "EC", "crv": "P-256", "x": ..., "y": ...}    ES256
//!           {"kty": "RSA", "n": ..., "e": ...}]}    RS256, 2,048 bits or more
//! ```
//!
//! Keys of other kinds, for other algorithms or for other uses are passed over: a set may hold
//! them for somebody else.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use serde::Deserialize;

use super::key::{Algorithm, Public, VerifyingKey};
use crate::model::limits::{TOKEN_KEYS_BYTES_MAX, TOKEN_KEYS_MAX};

/// Least and most bytes of an RSA modulus.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1_024;

/// A key set that cannot be used.
#[derive(thiserror::Error, Debug)]
pub enum JwksError {
    /// More bytes than any real one has.
    #[error("more than {TOKEN_KEYS_BYTES_MAX} bytes")]
    TooLong,
    /// Not a key set at all.
    #[error("not a key set: {0}")]
    Malformed(#[source] serde_json::Error),
    /// Nothing in it is of use here.
    #[error("no key for EdDSA, ES256 or RS256 signatures is in it")]
    Empty,
    /// More than any issuer needs.
    #[error("more than {TOKEN_KEYS_MAX} keys")]
    TooMany,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

/// The keys of a set that may sign tokens.
///
/// # Errors
/// [`JwksError`]: there is none, or it is no set.
pub fn parse(json: &[u8]) -> Result<Vec<VerifyingKey>, JwksError> {
    if json.len() > TOKEN_KEYS_BYTES_MAX {
        return Err(JwksError::TooLong);
    }
    let set: Set = serde_json::from_slice(json).map_err(JwksError::Malformed)?;
    let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
    let keys: Vec<VerifyingKey> = keys.filter_map(Jwk::verifying).collect();
    match keys.len() {
        0 => Err(JwksError::Empty),
        1..=TOKEN_KEYS_MAX => Ok(keys),
        _ => Err(JwksError::TooMany),
    }
}

impl Jwk {
    fn verifying(self) -> Option<VerifyingKey> {
        let signs = self.r#use.as_deref().is_none_or(|purpose| purpose == "sig");
        let verifies = self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        let public = self.public().filter(|_| signs && verifies)?;
        // A key that says what it is for is for nothing else.
        let own = self.alg.as_deref().map(Algorithm::of_header);
        let fits = own.is_none_or(|own| own == Some(public.algorithm()));
        fits.then_some(VerifyingKey { kid: self.kid, public })
    }

    fn public(&self) -> Option<Public> {
        let bytes = |field: &Option<String>| BASE64.decode(field.as_deref()?).ok();
        match (&*self.kty, self.crv.as_deref()) {
            ("OKP", Some("Ed25519")) => Some(Public::Ed25519(bytes(&self.x)?.try_into().ok()?)),
            ("EC", Some("P-256")) => {
                let (x, y) = (bytes(&self.x)?, bytes(&self.y)?);
                let is_whole = x.len() == 32 && y.len() == 32;
                is_whole.then(|| Public::p256(&[&[4][..], &x, &y].concat()))?
            }
            ("RSA", _) => {
                let (n, e) = (bytes(&self.n)?, bytes(&self.e)?);
                let is_fit = MODULUS_BYTES.contains(&n.len()) && n.first() != Some(&0);
                is_fit.then(|| Public::RsaParts(n.into(), e.into()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::session::token::signers::Signer;

    fn set(keys: &[Value]) -> Vec<u8> {
        json!({ "keys": keys }).to_string().into_bytes()
    }

    #[test]
    fn every_kind_of_key_is_read_and_verifies() {
        let signers = Signer::all();
        let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk("a")).collect();
        let read = parse(&set(&keys)).unwrap();
        assert_eq!(read.len(), signers.len());
        for (key, signer) in read.iter().zip(&signers) {
            assert_eq!(key.kid.as_deref(), Some("a"));
            assert_eq!(key.public.algorithm(), signer.algorithm());
            assert!(key.public.has_signed(b"text", &signer.sign(b"text")));
        }
    }

    #[test]
    fn what_is_not_for_us_is_passed_over_and_damage_is_no_key() {
        let good = Signer::ed25519().jwk("good");
        let with = |signer: &Signer, field: &str, value: Value| {
            let mut jwk = signer.jwk("bad");
            jwk[field] = value;
            jwk
        };
        let [ed, ec, rsa] = Signer::all();
        for bad in [
            json!(7),
            json!({}),
            json!({ "kty": "oct", "k": "AAAA", "alg": "HS256" }),
            json!({ "kty": "EC", "crv": "P-384", "x": "AA", "y": "AA" }),
            with(&ed, "use", json!("enc")),
            with(&ed, "key_ops", json!(["encrypt"])),
            with(&ed, "alg", json!("HS256")),
            with(&ed, "alg", json!("ES256")),
            with(&ed, "x", json!("AAAA")),
            with(&ed, "x", json!("not base64url!")),
            with(&ed, "crv", json!("Ed448")),
            with(&ec, "y", json!("AAAA")),
            with(&ec, "alg", json!("ES384")),
            with(&rsa, "alg", json!("PS256")),
            with(&rsa, "alg", json!("RS512")),
            with(&rsa, "n", json!(BASE64.encode([0xff; 128]))),
            with(&rsa, "n", json!(BASE64.encode([0; 256]))),
            with(&rsa, "n", json!(BASE64.encode([0xff; 1_025]))),
            with(&rsa, "e", json!(null)),
        ] {
            let kids: Vec<_> = parse(&set(&[bad.clone(), good.clone()])).unwrap();
            assert_eq!(kids.len(), 1, "{bad}");
            assert!(
                matches!(parse(&set(std::slice::from_ref(&bad))), Err(JwksError::Empty)),
                "{bad}"
            );
        }
        for text in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#] {
            assert!(matches!(parse(text.as_bytes()), Err(JwksError::Malformed(_))), "{text}");
        }
        let many = vec![good; TOKEN_KEYS_MAX + 1];
        assert!(matches!(parse(&set(&many)), Err(JwksError::TooMany)));
        assert!(matches!(parse(&vec![b' '; TOKEN_KEYS_BYTES_MAX + 1]), Err(JwksError::TooLong)));
    }
}
