//! Framing: where one frame ends and the next begins.
//!
//! ```text
//! | length: varint, 1-5 bytes | ClientFrame or ServerFrame: that many bytes |
//! | 0                         |   a keep-alive
//! ```
//!
//! A length is checked as soon as enough of it is there, before anything is allocated.

use bytes::Bytes;
use prost::Message as _;

use crate::wire;

/// No length of a legal frame takes more bytes.
const LENGTH_BYTES_MAX: usize = 5;

/// A length that no frame may have.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadLength {
    /// Longer than agreed.
    #[error("a frame of at least {bytes} bytes was announced; at most {max} are allowed")]
    TooLarge {
        /// The least that was announced.
        bytes: u64,
        /// The agreed most.
        max: u32,
    },
    /// Written with more bytes than it needs.
    #[error("a length was written with more bytes than it needs")]
    OverLong,
}

/// What the first bytes say of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Bytes that the length itself takes.
    pub length_bytes: usize,
    /// Bytes of the frame behind it; 0 = a keep-alive.
    pub body_bytes: usize,
}

/// Reads the length at the front of `bytes`. `None`: more bytes are needed.
///
/// # Errors
/// [`BadLength`]: there is no frame to wait for, whatever comes.
#[inline]
pub fn header(bytes: &[u8], max: u32) -> Result<Option<Header>, BadLength> {
    let mut length = 0_u64;
    for (at, &byte) in bytes.iter().enumerate().take(LENGTH_BYTES_MAX) {
        length |= u64::from(byte & 0x7f) << (7 * at);
        if length > max.into() {
            return Err(BadLength::TooLarge { bytes: length, max });
        }
        if byte < 0x80 {
            if byte == 0 && at > 0 {
                return Err(BadLength::OverLong);
            }
            // At most `max`, so it fits.
            return Ok(Some(Header { length_bytes: at + 1, body_bytes: length as usize }));
        }
    }
    if bytes.len() < LENGTH_BYTES_MAX { Ok(None) } else { Err(BadLength::OverLong) }
}

/// Takes one frame's body off the front of `input`. `None`: it is not whole yet, and `input` stays.
///
/// # Errors
/// [`BadLength`]: what comes is no frame, or a longer one than `max` bytes.
#[inline]
pub fn split<'a>(input: &mut &'a [u8], max: u32) -> Result<Option<&'a [u8]>, BadLength> {
    let Some(header) = header(input, max)? else { return Ok(None) };
    let end = header.length_bytes + header.body_bytes;
    let Some(frame) = input.get(header.length_bytes..end) else { return Ok(None) };
    *input = &input[end..];
    Ok(Some(frame))
}

/// A server's frame with its length, ready to be written to any number of connections.
pub fn encode_server(frame: &wire::ServerFrame) -> Bytes {
    // Allocated to the byte, so that sharing it moves nothing.
    frame.encode_length_delimited_to_vec().into()
}

/// A client's frame with its length, ready to be written.
pub fn encode_client(frame: &wire::ClientFrame) -> Bytes {
    frame.encode_length_delimited_to_vec().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = 65_536;

    fn lengthed(body: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        prost::encoding::encode_varint(body as u64, &mut bytes);
        bytes.resize(bytes.len() + body, 7);
        bytes
    }

    #[test]
    fn a_frame_is_split_off_once_it_is_whole_and_not_before() {
        for body in [0, 1, 127, 128, 16_383, 16_384, 65_536] {
            let bytes = lengthed(body);
            let mut whole = &bytes[..];
            assert_eq!(split(&mut whole, MAX).map(|frame| frame.map(<[u8]>::len)), Ok(Some(body)));
            assert!(whole.is_empty());
            for cut in [0, 1, bytes.len() - 1] {
                let mut part = &bytes[..cut.min(bytes.len() - 1)];
                let before = part;
                assert_eq!(split(&mut part, MAX), Ok(None), "{body} cut at {cut}");
                assert_eq!(part, before, "nothing is taken");
            }
        }
    }

    #[test]
    fn a_length_that_no_frame_may_have_is_refused_from_its_bytes_alone() {
        let too_large = |bytes| Err(BadLength::TooLarge { bytes, max: MAX });
        let cases = [
            (&[0x81, 0x80, 0x04][..], too_large(65_537)),
            // Already too much, though more would follow.
            (&[0xff, 0xff, 0xff], too_large(0x1f_ffff)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff], too_large(0x1f_ffff)),
            (&[0x80, 0], Err(BadLength::OverLong)),
            (&[0x85, 0x80, 0], Err(BadLength::OverLong)),
            (&[0x80; 5], Err(BadLength::OverLong)),
            (&[0x80; 11], Err(BadLength::OverLong)),
            (&[0x80; 4], Ok(None)),
            (&[0], Ok(Some(Header { length_bytes: 1, body_bytes: 0 }))),
        ];
        for (bytes, expected) in cases {
            assert_eq!(header(bytes, MAX), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn what_is_encoded_is_one_frame_in_an_allocation_of_its_size() {
        let frame = wire::ServerFrame { id: 300, ..Default::default() };
        let bytes = encode_server(&frame);
        let mut rest = &bytes[..];
        let body = split(&mut rest, MAX).expect("a good length").expect("a whole frame");
        assert!(rest.is_empty());
        assert_eq!(wire::ServerFrame::decode(body), Ok(frame));
    }
}
