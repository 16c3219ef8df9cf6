//! A person's device: what an installation calls itself.

use std::fmt;

/// Which device: chosen once per installation, 1-64 bytes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DeviceId(Box<str>);

impl DeviceId {
    /// Longest name, bytes.
    pub const BYTES_MAX: usize = 64;

    /// Checks the length. `None`: empty, or too long.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= Self::BYTES_MAX;
        fits.then(|| Self(text.into()))
    }

    /// The text as Hello carries it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What proves that a device is the one that is known: 32 bytes that it alone was told.
#[derive(Clone, PartialEq, Eq)]
pub struct Proof(pub [u8; 32]);

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(..)")
    }
}

/// SHA-256 of a proof: what is kept of it. Compared as it is: how long that takes tells of a
/// hash, from which no proof is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProofHash(pub [u8; 32]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_1_to_64_bytes() {
        for (text, good) in [("", false), ("d", true), (&"폰".repeat(21), true)] {
            assert_eq!(DeviceId::parse(text).is_some(), good, "{text:?}");
        }
        assert_eq!(DeviceId::parse(&"x".repeat(65)), None);
    }
}
