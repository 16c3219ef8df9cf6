//! An event encoded once: the bytes that history keeps are the bytes that are sent.
//!
//! ```text
//! frame  | varint n | tag of ServerFrame.event | varint m | Event, m bytes |
//!        ^ what a connection is sent                       ^ what the store keeps
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use damso_proto::id::{ChannelNo, MessageId, Seq};
use damso_proto::wire;
use prost::Message as _;

/// Tag byte of `ServerFrame.event`: field 1, length-delimited.
const EVENT_TAG: u8 = 1 << 3 | 2;

/// One event as it is sent and stored. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EncodedEvent {
    frame: Bytes,
    event_at: u8,
}

impl EncodedEvent {
    /// Encodes an event that has its channel, seq and id.
    pub fn new(event: &wire::Event) -> Self {
        let event_len = event.encoded_len();
        Self::frame_of(event_len, |frame| event.encode_raw(frame))
    }

    /// Wraps stored event bytes for sending.
    pub fn from_stored(event: &[u8]) -> Self {
        Self::frame_of(event.len(), |frame| frame.put_slice(event))
    }

    fn frame_of(event_len: usize, put_event: impl FnOnce(&mut BytesMut)) -> Self {
        let frame_len = 1 + prost::length_delimiter_len(event_len) + event_len;
        let mut frame = BytesMut::with_capacity(prost::length_delimiter_len(frame_len) + frame_len);
        prost::encoding::encode_varint(frame_len as u64, &mut frame);
        frame.put_u8(EVENT_TAG);
        prost::encoding::encode_varint(event_len as u64, &mut frame);
        let event_at = u8::try_from(frame.len()).unwrap_or(u8::MAX);
        put_event(&mut frame);
        Self { frame: frame.freeze(), event_at }
    }

    /// The length-prefixed `ServerFrame`, ready for a connection.
    pub fn frame(&self) -> &Bytes {
        &self.frame
    }

    /// The `Event` message alone, as the store keeps it.
    pub fn event(&self) -> &[u8] {
        self.frame.get(usize::from(self.event_at)..).unwrap_or_default()
    }
}

/// What an event needs before it can be encoded: its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The channel whose log it enters.
    pub channel: ChannelNo,
    /// Its position there.
    pub seq: Seq,
    /// Its id.
    pub id: MessageId,
}

impl Place {
    /// Puts `event` here.
    pub fn stamp(self, event: &mut wire::Event) {
        event.channel = self.channel.get();
        event.seq = self.seq.get();
        event.id = self.id.get();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> wire::Event {
        let mut event = wire::Event {
            sender: 7,
            content: Some(wire::event::Content::Text(text.into())),
            ..Default::default()
        };
        Place { channel: ChannelNo::new(4), seq: Seq::new(9), id: MessageId::new(1 << 40) }
            .stamp(&mut event);
        event
    }

    #[test]
    fn the_frame_is_what_any_protobuf_runtime_reads() {
        for len in [0, 1, 100, 200, 16 * 1024] {
            let event = event(&"x".repeat(len));
            let encoded = EncodedEvent::new(&event);
            let frame = wire::ServerFrame::decode_length_delimited(encoded.frame().clone());
            let expected = wire::ServerFrame {
                kind: Some(wire::server_frame::Kind::Event(event.clone())),
                ..Default::default()
            };
            assert_eq!(frame.as_ref(), Ok(&expected), "text of {len} bytes");
            assert_eq!(wire::Event::decode(encoded.event()), Ok(event));
        }
    }

    #[test]
    fn stored_bytes_become_the_same_frame_again() {
        let encoded = EncodedEvent::new(&event("담소"));
        assert_eq!(EncodedEvent::from_stored(encoded.event()), encoded);
    }
}
