//! Who is it: tokens, checked and issued. A JWT with an Ed25519 signature, and no other kind.
//!
//! ```text
//! base64url(header) . base64url(claims) . base64url(signature, 64 bytes)
//! header   alg "EdDSA" or "Ed25519", kid optional
//! claims   sub = uid, aud holds "damso", exp; nbf and iat optional
//! ```
//!
//! The time is an argument, so this stands on ring and serde_json rather than on a JWT
//! library, which asks the system's clock.

mod issue; //  tokens for people without a backend of their own
mod key; //    whose word counts
mod verify; // what a token must be and say

pub use issue::{Issuer, Token};
pub use key::{KeyError, VerifyingKey};
pub use verify::{Claims, TokenError, Verifier};
