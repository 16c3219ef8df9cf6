//! What a load message carries.
//!
//! ```text
//! | run u64 | intended u64 | phase u16 | stream u16 | number u32 | crc32c u32 | filler ...  |
//!   whose     ns, monotonic   which message of which traffic       over all the rest
//! ```

/// Bytes before the filler, and the least length of a payload.
pub const HEADER_BYTES: usize = 28;
/// The crc stands here.
const CRC_AT: usize = 24;

/// Names one operation of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tag {
    /// The phase, from 0.
    pub phase: u16,
    /// The stream in the scenario, from 0.
    pub stream: u16,
    /// The operation in the stream and phase, from 0.
    pub number: u32,
}

/// The header of one message's payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Payload {
    /// The run that it belongs to; messages of other runs are not ours to judge.
    pub run: u64,
    /// When it was meant to be sent, nanoseconds of `CLOCK_MONOTONIC`.
    pub intended_ns: u64,
    /// Which message it is.
    pub tag: Tag,
}

/// What bytes turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Read {
    /// A payload of ours, unharmed.
    Whole(Payload),
    /// Too short, or its checksum does not fit.
    Corrupt,
}

impl Payload {
    /// The payload as `bytes` bytes (at least [`HEADER_BYTES`]), filled up with its own number.
    pub fn encode(&self, bytes: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.max(HEADER_BYTES));
        out.extend_from_slice(&self.run.to_le_bytes());
        out.extend_from_slice(&self.intended_ns.to_le_bytes());
        out.extend_from_slice(&self.tag.phase.to_le_bytes());
        out.extend_from_slice(&self.tag.stream.to_le_bytes());
        out.extend_from_slice(&self.tag.number.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        // Filler that does not compress to nothing and differs between messages.
        let mut state = u64::from(self.tag.number) ^ self.run;
        while out.len() < bytes {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            out.push((state >> 56) as u8);
        }
        let crc = checksum(&out);
        out[CRC_AT..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a payload and checks it.
    pub fn read(bytes: &[u8]) -> Read {
        let Some((header, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Read::Corrupt;
        };
        let u64_at =
            |at: usize| header[at..at + 8].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
        let u32_at =
            |at: usize| header[at..at + 4].iter().rev().fold(0, |n, b| n << 8 | u32::from(*b));
        let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        if checksum(bytes) != u32_at(CRC_AT) {
            return Read::Corrupt;
        }
        Read::Whole(Self {
            run: u64_at(0),
            intended_ns: u64_at(8),
            tag: Tag { phase: u16_at(16), stream: u16_at(18), number: u32_at(20) },
        })
    }
}

/// crc32c of everything but the checksum itself.
fn checksum(bytes: &[u8]) -> u32 {
    let (head, rest) = bytes.split_at(CRC_AT);
    crc32c::crc32c_append(crc32c::crc32c(head), rest.get(4..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: Payload = Payload {
        run: 1 << 60,
        intended_ns: u64::MAX,
        tag: Tag { phase: 3, stream: 0x102, number: 9 },
    };

    #[test]
    fn a_payload_comes_back_at_every_length() {
        for bytes in [0, HEADER_BYTES, HEADER_BYTES + 1, 200, 16_384] {
            let encoded = PAYLOAD.encode(bytes);
            assert_eq!(encoded.len(), bytes.max(HEADER_BYTES));
            assert_eq!(Payload::read(&encoded), Read::Whole(PAYLOAD));
        }
    }

    #[test]
    fn one_changed_bit_anywhere_is_seen() {
        let encoded = PAYLOAD.encode(64);
        for bit in 0..encoded.len() * 8 {
            let mut harmed = encoded.clone();
            harmed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Payload::read(&harmed), Read::Corrupt, "bit {bit}");
        }
        assert_eq!(Payload::read(&encoded[..20]), Read::Corrupt);
    }
}
