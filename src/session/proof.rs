//! What a device is told, so that a stolen token alone makes nobody a known device.
//!
//! A proof is 32 bytes that nobody can guess: HMAC-SHA-256 of person and device under a key from
//! the operating system's generator, made anew with each start. So it is the same whenever it has
//! to be told again while the server runs, and telling it writes nothing; only its SHA-256 is kept.

use damso_proto::id::Uid;
use ring::{digest, hmac};

use crate::model::device::{DeviceId, Proof, ProofHash};
use crate::runtime::random::Random;

/// Makes proofs.
#[derive(Debug)]
pub struct Proofs {
    key: hmac::Key,
}

impl Proofs {
    /// With a key from `random`, which must be fit for secrets.
    pub fn new(random: &dyn Random) -> Self {
        let mut key = [0; 32];
        random.fill(&mut key);
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key) }
    }

    /// What this device is told if it has no proof.
    pub(super) fn of(&self, uid: &Uid, device: &DeviceId) -> Proof {
        let mut context = hmac::Context::with_key(&self.key);
        // A uid has no control characters: no two pairs read alike.
        context.update(uid.as_str().as_bytes());
        context.update(&[0]);
        context.update(device.as_str().as_bytes());
        let mut proof = [0; 32];
        proof.copy_from_slice(context.sign().as_ref());
        Proof(proof)
    }
}

/// What is kept of a proof.
pub(super) fn hash(proof: &[u8; 32]) -> ProofHash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, proof).as_ref());
    ProofHash(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::random::SeededRandom;

    #[test]
    fn a_proof_is_one_devices_and_one_starts() {
        let proofs = Proofs::new(&SeededRandom::new(1));
        let of = |proofs: &Proofs, uid: &str, device: &str| {
            proofs.of(&Uid::parse(uid).unwrap(), &DeviceId::parse(device).unwrap())
        };
        let proof = of(&proofs, "alice", "phone");
        assert_eq!(of(&proofs, "alice", "phone"), proof);
        for (uid, device) in [("alice", "phone2"), ("alicep", "hone"), ("bob", "phone")] {
            assert_ne!(of(&proofs, uid, device), proof, "{uid}, {device}");
        }
        assert_ne!(of(&Proofs::new(&SeededRandom::new(2)), "alice", "phone"), proof);
        assert_eq!(format!("{proof:?}"), "Proof(..)");
        assert_ne!(hash(&proof.0).0, proof.0);
    }
}
