//! Who is it: tokens, checked and issued. A JWT with a signature by a public key, and no other
//! kind.
//!
//! ```text
//! base64url(header) . base64url(claims) . base64url(signature)
//! header   alg "EdDSA" (Ed25519), "ES256" or "RS256": that of the key; kid optional
//! claims   sub = uid, aud holds "damso", exp; nbf, iat optional; iss if one is asked for
//! ```
//!
//! The time is an argument, so this stands on ring and serde_json rather than on a JWT
//! library, which asks the system's clock.

mod fetched; // keys from where their issuer publishes them
mod issue; //  tokens for people without a backend of their own
mod jwks; //   keys as their issuer publishes them
mod key; //    whose word counts
mod key_file; // keys in files
#[cfg(test)]
mod signers; // issuers of tests, one of each kind
mod verify; // what a token must be and say

pub use fetched::{Fetched, Pace};
pub use issue::{Issuer, Token};
pub use jwks::{JwksError, parse as parse_jwks};
pub use key::VerifyingKey;
pub use key_file::KeyError;
pub use verify::{AUDIENCE, Claims, TokenError, Verifier};
