//! The hash that tells a repeated request from another one under the same key.

use ring::digest;

/// First 8 bytes of the SHA-256 of a request's body.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BodyHash(pub u64);

impl BodyHash {
    /// Hashes the meaning of a request: its `kind` and its `fields` in a fixed order.
    ///
    /// Not its encoding: two clients, or two versions of one, may encode the same request
    /// differently. A field that is added later goes to the end and only when it is set.
    pub fn of(kind: &str, fields: &[&[u8]]) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        for part in std::iter::once(&kind.as_bytes()).chain(fields) {
            // With lengths, or ["ab", "c"] would be ["a", "bc"].
            hash.update(&(part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hash.finish().as_ref()[..8]);
        Self(u64::from_be_bytes(first))
    }

    /// Hashes a request whose fields are numbers.
    pub fn of_numbers(kind: &str, fields: &[u64]) -> Self {
        let fields: Vec<[u8; 8]> = fields.iter().map(|field| field.to_be_bytes()).collect();
        Self::of(kind, &fields.iter().map(|field| &field[..]).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fixed_since_it_is_stored() {
        // Computed with another implementation of SHA-256.
        assert_eq!(BodyHash::of("send", &[b"a", b""]), BodyHash(0x131f8b8605694127));
    }

    #[test]
    fn kind_fields_and_their_borders_all_count() {
        let hashes = [
            BodyHash::of("send", &[b"ab", b"c"]),
            BodyHash::of("send", &[b"a", b"bc"]),
            BodyHash::of("send", &[b"abc"]),
            BodyHash::of("send", &[b"abc", b""]),
            BodyHash::of("sendabc", &[]),
        ];
        for (at, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..at].contains(hash), "{at}");
        }
    }
}
