//! The few frames that the bare server understands, and its answers.

use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Asked;
use damso_proto::wire::server_frame::Kind as Said;
use prost::Message as _;

/// Takes one whole frame off the front of `bytes`. `None`: there is none.
///
/// # Errors
/// The bytes are no frame.
pub(super) fn take(bytes: &mut &[u8]) -> Result<Option<wire::ClientFrame>, prost::DecodeError> {
    loop {
        let mut rest = *bytes;
        let length = match prost::encoding::decode_varint(&mut rest) {
            Ok(length) => usize::try_from(length).unwrap_or(usize::MAX),
            Err(_) if bytes.len() < 10 => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some((frame, rest)) = rest.split_at_checked(length) else { return Ok(None) };
        *bytes = rest;
        // Length zero keeps a connection alive and says nothing.
        if length > 0 {
            return wire::ClientFrame::decode(frame).map(Some);
        }
    }
}

/// A frame as it goes out.
pub(super) fn frame(id: u64, kind: Said) -> Vec<u8> {
    wire::ServerFrame { kind: Some(kind), id, more: false }.encode_length_delimited_to_vec()
}

/// The answer to Hello.
pub(super) fn welcome(user: u64, uid: &str) -> Vec<u8> {
    let limits = wire::Limits {
        frame_bytes: 64 * 1024,
        text_bytes: 16 * 1024,
        requests_in_flight: 32,
        ..Default::default()
    };
    let welcome = wire::Welcome {
        version: 1,
        user,
        uid: uid.into(),
        epoch: 1,
        limits: Some(limits),
        // Nobody is cut here, so nobody needs to be asked.
        heartbeat_ms: 600_000,
        idle_limit_ms: 1_500_000,
        server: "bare".into(),
        ..Default::default()
    };
    frame(0, Said::Welcome(welcome))
}

/// A send as the event that its channel's members get.
pub(super) fn event(send: wire::Send, channel: u64, seq: u64, id: u64, sender: u64) -> Vec<u8> {
    let content = send.content.map(|content| match content {
        wire::send::Content::Text(text) => wire::event::Content::Text(text),
        wire::send::Content::Custom(custom) => wire::event::Content::Custom(custom),
    });
    let event = wire::Event { channel, seq, id, sender, content, ..Default::default() };
    frame(0, Said::Event(event))
}

/// The answer to a request that the bare server does not know.
pub(super) fn refusal(id: u64, asked: Option<&Asked>) -> Vec<u8> {
    let text = if asked.is_some() { "not here, or not known here" } else { "no request" };
    frame(id, Said::Refusal(wire::Refusal { code: 1, text: text.into(), ..Default::default() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_one_by_one_and_halves_are_left() {
        let ping = wire::ClientFrame {
            kind: Some(Asked::Ping(wire::Ping { id: 3 })),
            ..Default::default()
        };
        let mut bytes = vec![0];
        bytes.extend(ping.encode_length_delimited_to_vec());
        bytes.push(0);
        bytes.extend(ping.encode_length_delimited_to_vec());
        for cut in 0..bytes.len() {
            let mut input = &bytes[..cut];
            let mut taken = 0;
            while let Some(frame) = take(&mut input).unwrap() {
                assert_eq!(frame, ping);
                taken += 1;
            }
            let mut rest = [input, &bytes[cut..]].concat();
            let mut rest = rest.as_mut_slice() as &[u8];
            while take(&mut rest).unwrap().is_some() {
                taken += 1;
            }
            assert_eq!((taken, rest), (2, &[][..]), "cut at {cut}");
        }
    }
}
