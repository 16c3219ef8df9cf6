//! Keys of backends as text: `dsk_<id>_<secret>`. The id is public, the secret 32 random bytes in
//! hexadecimal, of which only the SHA-256 is kept.

use std::fmt;

use ring::digest;
use subtle::ConstantTimeEq as _;

use crate::runtime::random::Random;
use crate::store::directory::ServiceKeyId;

const PREFIX: &str = "dsk_";
const BYTES: usize = 32;

/// A key's secret half. Shown only where it is asked for by name.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; BYTES]);

impl Secret {
    /// A new one.
    pub fn random(random: &dyn Random) -> Self {
        let mut bytes = [0; BYTES];
        random.fill(&mut bytes);
        Self(bytes)
    }

    /// What is kept of it.
    pub fn hash(&self) -> [u8; 32] {
        let digest = digest::digest(&digest::SHA256, &self.0);
        digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
    }

    /// Whether this is what was kept of it. Takes as long whatever differs.
    pub(super) fn is(&self, kept: &[u8; 32]) -> bool {
        self.hash().ct_eq(kept).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The text that a backend sends.
pub fn text_of(id: ServiceKeyId, secret: &Secret) -> String {
    let hex: String = secret.0.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{PREFIX}{}_{hex}", id.0)
}

/// Reads it back. `None`: not a key at all.
pub(super) fn parse(text: &str) -> Option<(ServiceKeyId, Secret)> {
    let (id, hex) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let digits = |text: &str, digit: fn(&u8) -> bool| text.as_bytes().iter().all(digit);
    if !digits(id, u8::is_ascii_digit) || !digits(hex, u8::is_ascii_hexdigit) {
        return None;
    }
    if hex.len() != 2 * BYTES {
        return None;
    }
    let mut secret = [0; BYTES];
    for (byte, at) in secret.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()?;
    }
    Some((ServiceKeyId(id.parse().ok()?), Secret(secret)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::random::SeededRandom;

    #[test]
    fn a_key_comes_back_and_its_hash_tells_it_from_others() {
        let random = SeededRandom::new(1);
        let (secret, other) = (Secret::random(&random), Secret::random(&random));
        let text = text_of(ServiceKeyId(7), &secret);
        assert_eq!(parse(&text), Some((ServiceKeyId(7), secret.clone())));
        assert!(secret.is(&secret.hash()) && !other.is(&secret.hash()));
        assert!(!format!("{secret:?}").contains(&text[8..16]));
    }

    #[test]
    fn whatever_is_no_key_is_none() {
        let hex = "0a".repeat(32);
        assert!(parse(&format!("dsk_1_{hex}")).is_some());
        for bad in [
            String::new(),
            "dsk_".into(),
            "dsk_1_".into(),
            format!("dsk__{hex}"),
            format!("dsk_+1_{hex}"),
            format!("dsk_1_{hex}00"),
            format!("dsk_1_{}", "g".repeat(64)),
            format!("dsk_1_{}", "é".repeat(32)),
            format!("dsk_99999999999999999999_{hex}"),
            format!("key_1_{hex}"),
        ] {
            assert_eq!(parse(&bad), None, "{bad}");
        }
    }
}
