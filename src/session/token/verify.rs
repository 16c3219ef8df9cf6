//! What a token must be and say.
//!
//! Checked in this order: length, form, algorithm, key, signature, and only then what it
//! claims: nothing that an unknown person wrote decides anything.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use damso_proto::id::Uid;
use serde::Deserialize;

use super::fetched::{Asked, Fetched};
use super::key::{Algorithm, VerifyingKey};
use crate::model::limits::{TOKEN_BYTES_MAX, TOKEN_KEYS_TIME_MAX, TOKEN_SKEW_MAX, TOKEN_TRIES_MAX};
use crate::runtime::clock::Clock;

/// Whom tokens must be meant for, unless that is set otherwise.
pub const AUDIENCE: &str = "damso";
/// How much longer than a fetch may take somebody waits for it.
const FETCH_PATIENCE: Duration = Duration::from_secs(1);

/// Why a token is not accepted. Its contents are in none of these.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenError {
    /// Not a token of the one kind that is accepted here.
    #[error("malformed token: {0}")]
    Malformed(&'static str),
    /// Its signature is not that of the key that it names.
    #[error("the token's signature is wrong")]
    Forged,
    /// Signed by somebody unknown, or meant for another service.
    #[error("the token is not for this server")]
    Foreign,
    /// It names a key that is not known.
    #[error("the token names a key that is not known")]
    UnknownKey,
    /// The same, and the issuer was asked for its keys a moment ago: try again in a minute.
    #[error("the token names a key that is not known yet")]
    UnknownYet,
    /// It was good once. A new one is needed.
    #[error("the token has expired")]
    Expired,
    /// It will be good later, or a clock is wrong.
    #[error("the token is not yet valid")]
    NotYetValid,
}

/// What a verified token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claims {
    /// Who it is.
    pub uid: Uid,
    /// When the token was issued, milliseconds since 1970; 0: it does not say.
    pub issued_ms: u64,
    /// When the token ends, milliseconds since 1970.
    pub expires_ms: u64,
}

/// Checks tokens.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: Vec<VerifyingKey>,
    fetched: Option<Arc<Fetched>>,
    audience: String,
    issuer: Option<String>,
}

impl Verifier {
    /// Trusts these keys.
    pub fn new(keys: Vec<VerifyingKey>) -> Self {
        Self { keys, fetched: None, audience: AUDIENCE.to_owned(), issuer: None }
    }

    /// Trusts fetched keys, too.
    #[must_use]
    pub fn and_fetched(self, fetched: Option<Arc<Fetched>>) -> Self {
        Self { fetched, ..self }
    }

    /// Tokens must be meant for `audience` and, if one is named, say that `issuer` made them.
    #[must_use]
    pub fn meant_for(self, audience: String, issuer: Option<String>) -> Self {
        Self { audience, issuer, ..self }
    }

    /// Says who a token is about. If it names an unknown key, waits until keys were fetched anew,
    /// unless that was a moment ago.
    ///
    /// # Errors
    /// [`TokenError`] says what to do about it.
    pub async fn verify_patiently(
        &self,
        token: &str,
        clock: &dyn Clock,
    ) -> Result<Claims, TokenError> {
        match (self.verify(token, clock.unix_ms()), &self.fetched) {
            (Err(TokenError::UnknownKey), Some(fetched)) => match fetched.ask(clock.now()) {
                Asked::Later => Err(TokenError::UnknownYet),
                Asked::Soon(mut over) => {
                    let patience = TOKEN_KEYS_TIME_MAX + FETCH_PATIENCE;
                    // Not over in time: what is known must do.
                    drop(tokio::time::timeout(patience, over.changed()).await);
                    self.verify(token, clock.unix_ms())
                }
            },
            (verified, _) => verified,
        }
    }

    /// Says who a token is about. `now_ms` is the time of day, milliseconds since 1970.
    ///
    /// # Errors
    /// [`TokenError`] says what to do about it.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Malformed("too long"));
        }
        let (signed, signature) =
            token.rsplit_once('.').ok_or(TokenError::Malformed("not three parts"))?;
        let (header, claims) =
            signed.split_once('.').ok_or(TokenError::Malformed("not three parts"))?;
        let header = decode(header)?;
        let Header { alg, kid, crit } = parse(&header)?;
        if crit.is_some() {
            return Err(TokenError::Malformed("an extension that is not known here"));
        }
        let algorithm = Algorithm::of_header(&alg)
            .ok_or(TokenError::Malformed("the algorithm is not EdDSA, ES256 or RS256"))?;
        let signature = decode(signature)?;
        self.check_signature((algorithm, kid.as_deref()), signed.as_bytes(), &signature)?;
        parse::<RawClaims<'_>>(&decode(claims)?)?.check(self, now_ms)
    }

    fn check_signature(
        &self,
        (algorithm, kid): (Algorithm, Option<&str>),
        signed: &[u8],
        signature: &[u8],
    ) -> Result<(), TokenError> {
        let fetched = self.fetched.as_ref().map(|fetched| fetched.keys());
        let keys = self.keys.iter().chain(fetched.iter().flat_map(|keys| &**keys));
        let mut is_named = false;
        let mut tries = 0;
        for key in keys.filter(|key| key.may_be(kid)) {
            is_named |= key.kid.is_some() && kid.is_some();
            // Never what the token says: a key has an algorithm of its own.
            if key.public.algorithm() != algorithm || tries == TOKEN_TRIES_MAX {
                continue;
            }
            tries += 1;
            if key.public.has_signed(signed, signature) {
                return Ok(());
            }
        }
        Err(match kid {
            Some(_) if !is_named => TokenError::UnknownKey,
            _ if tries > 0 => TokenError::Forged,
            _ => TokenError::Foreign,
        })
    }
}

/// Unknown fields mean nothing; a field that comes twice is an error.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    kid: Option<String>,
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct RawClaims<'a> {
    #[serde(borrow)]
    sub: Cow<'a, str>,
    aud: Audience,
    exp: serde_json::Number,
    nbf: Option<serde_json::Number>,
    iat: Option<serde_json::Number>,
    iss: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl RawClaims<'_> {
    fn check(self, wanted: &Verifier, now_ms: u64) -> Result<Claims, TokenError> {
        let is_ours = match &self.aud {
            Audience::One(audience) => *audience == wanted.audience,
            Audience::Many(audiences) => audiences.contains(&wanted.audience),
        };
        let is_theirs = wanted.issuer.is_none() || wanted.issuer == self.iss;
        if !is_ours || !is_theirs {
            return Err(TokenError::Foreign);
        }
        let skew_ms = millis(TOKEN_SKEW_MAX);
        let expires_ms = moment_ms(&self.exp)?;
        if now_ms >= expires_ms.saturating_add(skew_ms) {
            return Err(TokenError::Expired);
        }
        if let Some(nbf) = &self.nbf
            && now_ms.saturating_add(skew_ms) < moment_ms(nbf)?
        {
            return Err(TokenError::NotYetValid);
        }
        let issued_ms = self.iat.as_ref().map_or(Ok(0), moment_ms)?;
        // Else whoever is trusted could issue tokens that no revocation reaches.
        if now_ms.saturating_add(skew_ms) < issued_ms {
            return Err(TokenError::NotYetValid);
        }
        let uid = Uid::parse(&self.sub).ok_or(TokenError::Malformed("sub is not a uid"))?;
        Ok(Claims { uid, issued_ms, expires_ms })
    }
}

/// Seconds since 1970, whole or not, as milliseconds.
fn moment_ms(seconds: &serde_json::Number) -> Result<u64, TokenError> {
    if let Some(whole) = seconds.as_u64() {
        return Ok(whole.saturating_mul(1_000));
    }
    match seconds.as_f64() {
        Some(seconds) if seconds >= 0.0 => Ok((seconds * 1_000.0).round() as u64), // saturates
        _ => Err(TokenError::Malformed("not a time")),
    }
}

fn decode(part: &str) -> Result<Vec<u8>, TokenError> {
    BASE64.decode(part).map_err(|_| TokenError::Malformed("not base64url"))
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, TokenError> {
    serde_json::from_slice(json).map_err(|_| TokenError::Malformed("a field is missing or wrong"))
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::session::token::issue::{Issuer, Token};
    use crate::session::token::jwks;
    use crate::session::token::key::{Public, thumbprint};
    use crate::session::token::signers::Signer;

    const NOW_MS: u64 = 1_800_000_000_000;
    const NOW: u64 = NOW_MS / 1_000;

    fn issuer() -> Issuer {
        let place = tempfile::tempdir().unwrap();
        Issuer::open_or_make(&place.path().join("key")).unwrap()
    }

    fn public_of(issuer: &Issuer) -> [u8; 32] {
        match issuer.verifying_key().public {
            Public::Ed25519(public) => public,
            _ => panic!("the built-in issuer has an Ed25519 key"),
        }
    }

    fn claims() -> Value {
        json!({ "sub": "alice", "aud": "damso", "exp": NOW + 600 })
    }

    /// `claims()` with one field set, or removed.
    fn with(field: &str, value: Value) -> Value {
        let mut claims = claims();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(field)),
            value => claims[field] = value,
        }
        claims
    }

    fn verify(issuer: &Issuer, header: &Value, claims: &Value) -> Result<Claims, TokenError> {
        let token = issuer.sign(&header.to_string(), &claims.to_string());
        Verifier::new(vec![issuer.verifying_key()]).verify(token.as_str(), NOW_MS)
    }

    #[test]
    fn an_issued_token_says_who_and_until_when() {
        let issuer = issuer();
        let verifier = Verifier::new(vec![issuer.verifying_key()]);
        let uid = Uid::parse("민수").unwrap();
        let token = issuer.issue(&uid, Duration::from_secs(900), NOW_MS + 7);
        let claims = verifier.verify(token.as_str(), NOW_MS).unwrap();
        assert_eq!(claims, Claims { uid, issued_ms: NOW_MS + 7, expires_ms: NOW_MS + 901_000 });
        assert_eq!(verifier.verify(token.as_str(), NOW_MS + 960_999).as_ref(), Ok(&claims));
        let late = verifier.verify(token.as_str(), NOW_MS + 961_000);
        assert_eq!(late, Err(TokenError::Expired));
    }

    #[test]
    fn every_claim_is_checked() {
        let issuer = issuer();
        let wrong = TokenError::Malformed("a field is missing or wrong");
        let cases = [
            (claims(), Ok(())),
            (with("aud", json!(["x", "damso"])), Ok(())),
            (with("aud", json!("damso2")), Err(TokenError::Foreign)),
            (with("aud", json!(["x"])), Err(TokenError::Foreign)),
            (with("aud", Value::Null), Err(wrong)),
            (with("exp", Value::Null), Err(wrong)),
            (with("exp", json!("never")), Err(wrong)),
            (with("exp", json!(NOW - 59)), Ok(())),
            (with("exp", json!(NOW - 60)), Err(TokenError::Expired)),
            (with("exp", json!(NOW as f64 - 59.5)), Ok(())),
            (with("exp", json!(-1)), Err(TokenError::Malformed("not a time"))),
            (with("exp", json!(1e300)), Ok(())),
            (with("exp", json!(u64::MAX)), Ok(())),
            (with("nbf", json!(NOW + 60)), Ok(())),
            (with("nbf", json!(NOW + 61)), Err(TokenError::NotYetValid)),
            (with("iat", json!(NOW + 60)), Ok(())),
            (with("iat", json!(NOW + 61)), Err(TokenError::NotYetValid)),
            (with("iat", json!("today")), Err(wrong)),
            (with("sub", Value::Null), Err(wrong)),
            (with("sub", json!("")), Err(TokenError::Malformed("sub is not a uid"))),
            (with("sub", json!("x".repeat(65))), Err(TokenError::Malformed("sub is not a uid"))),
            (with("more", json!({ "any": 1 })), Ok(())),
        ];
        for (claims, expected) in cases {
            let verified = verify(&issuer, &json!({ "alg": "EdDSA" }), &claims).map(drop);
            assert_eq!(verified, expected, "{claims}");
        }
    }

    #[test]
    fn the_algorithm_is_pinned_and_extensions_are_refused() {
        let issuer = issuer();
        assert!(verify(&issuer, &json!({ "alg": "Ed25519" }), &claims()).is_ok());
        for header in [
            json!({ "alg": "none" }),
            json!({ "alg": "HS256" }),
            json!({ "alg": "eddsa" }),
            json!({}),
            json!({ "alg": "EdDSA", "crit": ["b64"], "b64": false }),
        ] {
            let refused = verify(&issuer, &header, &claims());
            assert!(matches!(refused, Err(TokenError::Malformed(_))), "{header}: {refused:?}");
        }
        let twice = issuer.sign(r#"{"alg":"EdDSA","alg":"none"}"#, &claims().to_string());
        let verifier = Verifier::new(vec![issuer.verifying_key()]);
        assert!(verifier.verify(twice.as_str(), NOW_MS).is_err());
    }

    #[test]
    fn a_public_key_is_no_shared_secret() {
        let issuer = issuer();
        let signed = format!(
            "{}.{}",
            BASE64.encode(r#"{"alg":"HS256"}"#),
            BASE64.encode(claims().to_string())
        );
        let secret = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &public_of(&issuer));
        let tag = ring::hmac::sign(&secret, signed.as_bytes());
        let token = format!("{signed}.{}", BASE64.encode(tag.as_ref()));
        assert!(Verifier::new(vec![issuer.verifying_key()]).verify(&token, NOW_MS).is_err());
    }

    #[test]
    fn a_key_answers_to_its_own_name_only() {
        let (ours, theirs) = (issuer(), issuer());
        let kid = |issuer: &Issuer| issuer.verifying_key().kid.unwrap();
        let (ours_kid, theirs_kid) = (kid(&ours), kid(&theirs));
        let token = |kid: Option<&str>| {
            let mut header = json!({ "alg": "EdDSA" });
            if let Some(kid) = kid {
                header["kid"] = kid.into();
            }
            theirs.sign(&header.to_string(), &claims().to_string())
        };
        let named = token(Some(&theirs_kid));
        let verify = |keys: Vec<VerifyingKey>, token: &Token| {
            Verifier::new(keys).verify(token.as_str(), NOW_MS).map(drop)
        };
        let (ours_key, theirs_key) = (ours.verifying_key(), theirs.verifying_key());
        let nameless = VerifyingKey { kid: None, ..theirs_key.clone() };
        let both = vec![ours_key.clone(), theirs_key.clone()];
        assert_eq!(verify(vec![], &named), Err(TokenError::UnknownKey));
        assert_eq!(verify(vec![], &token(None)), Err(TokenError::Foreign));
        assert_eq!(verify(vec![ours_key.clone()], &named), Err(TokenError::UnknownKey));
        assert_eq!(verify(vec![ours_key], &token(None)), Err(TokenError::Forged));
        assert_eq!(verify(both.clone(), &named), Ok(()));
        assert_eq!(verify(both.clone(), &token(None)), Ok(()));
        assert_eq!(verify(both, &token(Some(&ours_kid))), Err(TokenError::Forged));
        assert_eq!(verify(vec![nameless], &token(Some("2026-11"))), Ok(()));
        assert_eq!(verify(vec![theirs_key], &token(Some("2026-11"))), Err(TokenError::UnknownKey));
    }

    #[test]
    fn each_algorithm_is_accepted_from_its_own_keys_alone() {
        let signers = Signer::all();
        let jwk = |signer: &Signer| signer.jwk(signer.alg());
        let set = json!({ "keys": signers.iter().map(jwk).collect::<Vec<_>>() });
        let keys = jwks::parse(set.to_string().as_bytes()).unwrap();
        let nameless: Vec<_> =
            keys.iter().map(|key| VerifyingKey { kid: None, ..key.clone() }).collect();
        let (named, nameless) = (Verifier::new(keys), Verifier::new(nameless));
        for signer in &signers {
            for other in ["EdDSA", "ES256", "RS256", "HS256", "RS512", "PS256", "none"] {
                let own = other == signer.alg();
                for kid in ["EdDSA", "ES256", "RS256"] {
                    let token = signer.token(&json!({ "alg": other, "kid": kid }), &claims());
                    let good = own && kid == other;
                    assert_eq!(named.verify(&token, NOW_MS).is_ok(), good, "{kid}, {other}");
                    assert_eq!(nameless.verify(&token, NOW_MS).is_ok(), own, "{other}");
                }
                let token = signer.token(&json!({ "alg": other }), &claims());
                assert_eq!(named.verify(&token, NOW_MS).is_ok(), own, "{other}");
            }
        }
    }

    #[test]
    fn audience_and_issuer_are_what_was_asked_for() {
        let issuer = issuer();
        let header = json!({ "alg": "EdDSA" });
        let token = |claims: &Value| issuer.sign(&header.to_string(), &claims.to_string());
        let with_iss = |iss: Value| token(&with("iss", iss));
        let verifier = Verifier::new(vec![issuer.verifying_key()]);
        assert!(verifier.verify(with_iss(json!("anybody")).as_str(), NOW_MS).is_ok());
        let ours = verifier.clone().meant_for("damso".into(), Some("https://id".into()));
        for (token, expected) in [
            (with_iss(json!("https://id")), Ok(())),
            (with_iss(json!("https://id/")), Err(TokenError::Foreign)),
            (token(&claims()), Err(TokenError::Foreign)),
        ] {
            assert_eq!(ours.verify(token.as_str(), NOW_MS).map(drop), expected);
        }
        let other = verifier.meant_for("chat".into(), None);
        let outcome = other.verify(token(&claims()).as_str(), NOW_MS);
        assert_eq!(outcome, Err(TokenError::Foreign));
        assert!(other.verify(token(&with("aud", json!("chat"))).as_str(), NOW_MS).is_ok());
    }

    #[test]
    fn a_token_is_tried_with_few_keys_however_many_there_are() {
        let signer = Signer::ed25519();
        let decoy = VerifyingKey { kid: None, public: Public::Ed25519([9; 32]) };
        let own = json!({ "keys": [signer.jwk("own")] }).to_string();
        let own = jwks::parse(own.as_bytes()).unwrap();
        let among = |decoys: usize, kid: Option<&str>| {
            let mut keys = vec![VerifyingKey { kid: Some("x".into()), ..decoy.clone() }; decoys];
            keys.extend(own.clone());
            let mut header = json!({ "alg": "EdDSA" });
            if let Some(kid) = kid {
                header["kid"] = kid.into();
            }
            Verifier::new(keys).verify(&signer.token(&header, &claims()), NOW_MS).map(drop)
        };
        assert_eq!(among(TOKEN_TRIES_MAX - 1, None), Ok(()));
        assert_eq!(among(TOKEN_TRIES_MAX, None), Err(TokenError::Forged));
        assert_eq!(among(100, Some("own")), Ok(()), "one that names its key needs no tries");
    }

    #[test]
    fn no_changed_or_cut_token_is_accepted() {
        let issuer = issuer();
        let verifier = Verifier::new(vec![issuer.verifying_key()]);
        let uid = Uid::parse("alice").unwrap();
        let token = issuer.issue(&uid, Duration::from_secs(60), NOW_MS);
        let token = token.as_str().to_owned();
        for at in 0..token.len() {
            for other in ["A", "B", ".", "="] {
                let mut changed = token.clone();
                changed.replace_range(at..=at, other);
                let accepted = verifier.verify(&changed, NOW_MS).is_ok();
                assert_eq!(accepted, changed == token, "byte {at} as {other}");
            }
            assert!(verifier.verify(&token[..at], NOW_MS).is_err(), "cut to {at}");
        }
        for foreign in ["", ".", "..", "...", "a.b.c", &"a".repeat(4_000)] {
            assert!(verifier.verify(foreign, NOW_MS).is_err());
        }
    }

    #[test]
    fn a_signature_made_elsewhere_is_understood() {
        // RFC 8037, appendix A.4; its payload is no claim, so it ends there and not before.
        let public = BASE64.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let public: [u8; 32] = public.try_into().unwrap();
        let key = VerifyingKey { kid: None, public: Public::Ed25519(public) };
        assert_eq!(thumbprint(&public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
        let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
                     hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt\
                     9g7sVvpAr_MuM0KAg";
        let verified = Verifier::new(vec![key]).verify(token, NOW_MS);
        assert_eq!(verified, Err(TokenError::Malformed("a field is missing or wrong")));
    }
}
