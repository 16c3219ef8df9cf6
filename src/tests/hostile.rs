//! Frames that a client may not send: each ends in a typed refusal or a close, never in harm.
//!
//! After every case a witness sends a message and gets its acknowledgement.

use std::io;

use damso_proto::address::ConnectionString;
use damso_proto::code::{CloseCode, Code};
use damso_proto::limits;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;
use prost::Message as _;

use super::raw::{Raw, encode, frame, fresh_key, hello, text};
use super::server::{Local, UNBOUND};

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing was said.
    Greeting,
    /// Welcome came; the last Resume is awaited.
    Resuming,
    /// Requests may come.
    Open,
}

const STATES: [State; 3] = [State::Greeting, State::Resuming, State::Open];

/// What must come of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    /// Closing with this code.
    Close(CloseCode),
    /// An answer that is no refusal, or nothing; and the connection goes on.
    GoesOn,
    /// A refusal with this code, and the connection goes on.
    Refusal(Code),
}

const MALFORMED: Then = Then::Close(CloseCode::Malformed);
const TOO_LARGE: Then = Then::Close(CloseCode::FrameTooLarge);

/// The request id of every frame that has one.
const ID: u64 = 7;

/// A server, somebody hostile, and a witness that it serves on.
struct Scene {
    _server: Local,
    hostile: String,
    witness: Raw,
    channel: u64,
}

impl Scene {
    fn new() -> Self {
        let server = Local::start(&UNBOUND);
        let (mut witness, _) = Raw::log_in(&server.string("witness"), "w", Default::default());
        let ask = wire::CreateChannel {
            name: "quiet".to_owned(),
            uids: Vec::new(),
            ..Default::default()
        };
        let channel = match witness.ask(Ask::CreateChannel(ask)).0 {
            Said::Channel(info) => info.channel,
            other => panic!("expected a channel, heard {other:?}"),
        };
        Self { hostile: server.string("mallory"), witness, channel, _server: server }
    }

    fn at(&self, state: State) -> Raw {
        match state {
            State::Greeting => {
                let string: ConnectionString = self.hostile.parse().expect("a connection string");
                Raw::connect(&string).expect("a connection")
            }
            State::Resuming => Raw::greet(&self.hostile, "m").0,
            State::Open => Raw::log_in(&self.hostile, "m", Default::default()).0,
        }
    }

    /// Says `bytes` in `state`, and compares what comes of it.
    fn check(&mut self, state: State, what: &str, bytes: &[u8], then: Then) {
        let mut raw = self.at(state);
        // The server may end the connection before all is written.
        let written = raw.write(bytes);
        let heard = hear(&mut raw, state, then).unwrap_or_else(|error| {
            panic!("{what} in {state:?}: {error}, written {written:?}");
        });
        assert_eq!(heard, then, "{what} in {state:?}");
        self.serves();
    }

    fn serves(&mut self) {
        let (answer, _) = self.witness.ask(text(self.channel, "still here"));
        assert!(matches!(answer, Said::Ack(_)), "the witness heard {answer:?}");
    }
}

/// What came of it: reads to the close where one must come, else up to a fence.
fn hear(raw: &mut Raw, state: State, then: Then) -> io::Result<Then> {
    if matches!(then, Then::Close(_)) {
        let closing = raw.closing().ok_or(io::ErrorKind::UnexpectedEof)?;
        return Ok(Then::Close(closing));
    }
    if state == State::Greeting {
        // No Ping before Hello: whatever comes next shows that the connection lives.
        return match raw.next()? {
            Said::Closing(closing) => Ok(Then::Close(known(closing.code))),
            _ => Ok(Then::GoesOn),
        };
    }
    let mut heard = raw.fence()?;
    // Answers that take a while: one for each frame with an id.
    while matches!(then, Then::Refusal(_)) && heard.iter().all(|frame| frame.id != ID) {
        heard.push(raw.next_frame()?);
    }
    let refusal = heard.into_iter().find_map(|frame| match frame.kind {
        Some(Said::Refusal(refusal)) if frame.id == ID => Code::from_number(refusal.code),
        _ => None,
    });
    Ok(refusal.map_or(Then::GoesOn, Then::Refusal))
}

fn known(code: u32) -> CloseCode {
    CloseCode::from_number(code).expect("a code of this version")
}

/// One request of each kind, about a channel that is not there.
fn requests() -> Vec<(&'static str, Ask)> {
    let channel = 4_000_000;
    let uid = "nobody".to_owned();
    vec![
        ("Send", text(channel, "x")),
        ("ReadHistory", Ask::ReadHistory(wire::ReadHistory { channel, ..Default::default() })),
        ("ReadOutcome", Ask::ReadOutcome(wire::ReadOutcome::default())),
        ("CreateChannel", Ask::CreateChannel(wire::CreateChannel::default())),
        (
            "UpdateChannel",
            Ask::UpdateChannel(wire::UpdateChannel {
                channel,
                name: Some("x".to_owned()),
                custom: None,
            }),
        ),
        ("OpenDirect", Ask::OpenDirect(wire::OpenDirect { uid: uid.clone() })),
        ("ListChannels", Ask::ListChannels(wire::ListChannels::default())),
        (
            "AddMembers",
            Ask::AddMembers(wire::AddMembers {
                channel,
                uids: vec![uid.clone()],
                ..Default::default()
            }),
        ),
        ("RemoveMember", Ask::RemoveMember(wire::RemoveMember { channel, user: 9 })),
        ("SetRole", Ask::SetRole(wire::SetRole { channel, user: 9, role: 2 })),
        ("MuteMember", Ask::MuteMember(wire::MuteMember { channel, user: 9, until_ms: 1 })),
        ("BanMember", Ask::BanMember(wire::BanMember { channel, user: 9, until_ms: 1 })),
        ("LiftBan", Ask::LiftBan(wire::LiftBan { channel, user: 9 })),
        ("ListBans", Ask::ListBans(wire::ListBans { channel, ..Default::default() })),
        ("Block", Ask::Block(wire::Block { user: 4_000_000 })),
        ("Unblock", Ask::Unblock(wire::Unblock { user: 4_000_000 })),
        ("ListBlocks", Ask::ListBlocks(wire::ListBlocks::default())),
        ("LeaveChannel", Ask::LeaveChannel(wire::LeaveChannel { channel })),
        ("ListMembers", Ask::ListMembers(wire::ListMembers { channel, ..Default::default() })),
        ("FindPeople", Ask::FindPeople(wire::FindPeople { uids: vec![uid], ..Default::default() })),
        ("Reauth", Ask::Reauth(wire::Reauth { token: "a.b.c".to_owned() })),
    ]
}

/// Names of the kinds that a client may send, as the wire has them.
fn kinds() -> Vec<&'static str> {
    let frames = include_str!("../../proto/damso/v1/frame.proto");
    let client = frames.split("message ClientFrame {").nth(1).expect("what a client sends");
    let kinds = client.split("oneof kind {").nth(1).expect("kinds").split('}').next();
    let lines = kinds.expect("the end of the kinds").lines();
    lines.filter_map(|line| line.split_once(" = ")?.0.split_whitespace().next()).collect()
}

#[test]
fn every_request_has_its_line() {
    let told: Vec<_> = requests().into_iter().map(|(name, _)| name).collect();
    let not_requests = ["Hello", "Resume", "Ping", "Pong", "Cancel"];
    let missing: Vec<_> = kinds()
        .into_iter()
        .filter(|kind| !told.contains(kind) && !not_requests.contains(kind))
        .collect();
    assert!(missing.is_empty(), "`requests` has no {missing:?}");
    assert_eq!(kinds().len(), told.len() + not_requests.len(), "each once");
}

/// What a request of [`requests`] is answered with.
fn answer_to(name: &str) -> Then {
    match name {
        "ReadOutcome" | "ListChannels" | "FindPeople" | "Unblock" | "ListBlocks" => Then::GoesOn,
        "CreateChannel" => Then::Refusal(Code::Invalid),
        "Reauth" => Then::Refusal(Code::TokenInvalid),
        _ => Then::Refusal(Code::NotFound),
    }
}

fn with_id(kind: Option<Ask>, id: u64) -> Vec<u8> {
    let key = bytes::Bytes::copy_from_slice(fresh_key().as_bytes());
    encode(&wire::ClientFrame { kind, id, key, ..Default::default() })
}

/// A frame's bytes with their length in front.
fn lengthed(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    prost::encoding::encode_varint(body.len() as u64, &mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

#[test]
fn every_kind_of_frame_in_every_state_is_answered_or_ends_the_connection() {
    let mut scene = Scene::new();
    for (name, kind) in requests() {
        for state in STATES {
            let then = if state == State::Open { answer_to(name) } else { MALFORMED };
            scene.check(state, name, &with_id(Some(kind.clone()), ID), then);
        }
        let what = format!("{name} without an id");
        scene.check(State::Open, &what, &with_id(Some(kind), 0), MALFORMED);
    }
    let string: ConnectionString = scene.hostile.parse().expect("a connection string");
    let last = wire::Resume { last: true, ..Default::default() };
    let talk = [
        ("Hello", Ask::Hello(hello(&string, "m")), [Then::GoesOn, MALFORMED, MALFORMED]),
        ("Resume", Ask::Resume(wire::Resume::default()), [MALFORMED, Then::GoesOn, MALFORMED]),
        ("the last Resume", Ask::Resume(last), [MALFORMED, Then::GoesOn, MALFORMED]),
        ("Ping", Ask::Ping(wire::Ping { id: 99 }), [MALFORMED, Then::GoesOn, Then::GoesOn]),
        ("Pong", Ask::Pong(wire::Pong::default()), [MALFORMED, Then::GoesOn, Then::GoesOn]),
        ("Cancel", Ask::Cancel(wire::Cancel { id: ID }), [MALFORMED, MALFORMED, Then::GoesOn]),
    ];
    for (name, kind, thens) in talk {
        for (state, then) in STATES.into_iter().zip(thens) {
            scene.check(state, name, &encode(&frame(kind.clone())), then);
        }
    }
}

#[test]
fn a_kind_that_is_not_known_is_refused_by_its_id() {
    let mut scene = Scene::new();
    // Field 70, length-delimited, empty: a request of a later version. Field 13 is the id.
    let unknown = |id: u8| lengthed(&[0xb2, 0x04, 0x00, 0x68, id]);
    let refused = Then::Refusal(Code::UnknownRequest);
    for (state, then) in STATES.into_iter().zip([MALFORMED, MALFORMED, refused]) {
        scene.check(state, "an unknown request", &unknown(7), then);
    }
    for (state, then) in STATES.into_iter().zip([MALFORMED, MALFORMED, Then::GoesOn]) {
        scene.check(state, "an unknown frame that is no request", &unknown(0), then);
    }
    scene.check(State::Open, "only an id", &with_id(None, ID), refused);
}

#[test]
fn what_stands_behind_hello_is_read_as_if_it_had_come_after_welcome() {
    let mut scene = Scene::new();
    let string: ConnectionString = scene.hostile.parse().expect("a connection string");
    let greeting = encode(&frame(Ask::Hello(hello(&string, "m"))));
    let flood = [lengthed(&[0xff; 40_000]), lengthed(&[0xff; 40_000])].concat();
    for (what, behind, code) in [
        ("a request", with_id(Some(text(8, "x")), ID), CloseCode::Malformed),
        ("a second Hello", greeting.clone(), CloseCode::Malformed),
        ("a flood", flood, CloseCode::Malformed),
        ("a length that lies", vec![0xff, 0xff, 0xff, 0x7f], CloseCode::FrameTooLarge),
    ] {
        let mut raw = scene.at(State::Greeting);
        drop(raw.write(&[greeting.as_slice(), &behind].concat()));
        assert!(matches!(raw.next(), Ok(Said::Welcome(_))), "{what} behind Hello");
        assert_eq!(raw.closing(), Some(code), "{what} behind Hello");
        scene.serves();
    }
}

#[test]
fn a_length_that_no_frame_may_have_ends_the_connection_at_once() {
    let mut scene = Scene::new();
    for state in STATES {
        let max = match state {
            State::Greeting => limits::FRAME_BEFORE_LOGIN_BYTES_MAX,
            State::Resuming | State::Open => limits::FRAME_BYTES_MAX,
        };
        let max = usize::try_from(max).expect("a length in memory");
        // Nothing follows the length: nobody waits for what was announced.
        let announced = |bytes: usize| {
            let mut length = Vec::new();
            prost::encoding::encode_varint(bytes as u64, &mut length);
            length
        };
        scene.check(state, "one byte too many", &announced(max + 1), TOO_LARGE);
        scene.check(state, "all the memory there is", &announced(usize::MAX), TOO_LARGE);
        scene.check(state, "an over-long length", &[0x80, 0x00], MALFORMED);
        scene.check(state, "an over-long length of five", &[0x80; 5], MALFORMED);
        scene.check(
            state,
            "the longest frame, of nonsense",
            &lengthed(&vec![0xff; max]),
            MALFORMED,
        );
        let keep_alives = [&[0; 3_000][..], &[0x80, 0x00]].concat();
        scene.check(state, "keep-alives before it", &keep_alives, MALFORMED);
    }
}

#[test]
fn bytes_inside_a_frame_that_lie_end_the_connection() {
    let mut scene = Scene::new();
    let send = |bytes: &[u8]| {
        let mut body = vec![0x0a, u8::try_from(bytes.len()).expect("a short one")];
        body.extend_from_slice(bytes);
        body.extend_from_slice(&[0x68, 0x07]);
        lengthed(&body)
    };
    let cases: [(&str, Vec<u8>); 9] = [
        ("a field longer than its frame", lengthed(&[0x0a, 0x7f, 0x08, 0x01])),
        ("a string longer than its message", send(&[0x42, 0x7f, b'x'])),
        ("text that is not UTF-8", send(&[0x08, 0x04, 0x42, 0x02, 0xc3, 0x28])),
        ("a field number of zero", lengthed(&[0x00, 0x01])),
        ("a wire type that there is not", lengthed(&[0x0f, 0x01])),
        ("a group that never ends", lengthed(&[0x0b, 0x0b, 0x0b, 0x0b])),
        ("a key as a number", lengthed(&[0x70, 0x01])),
        ("a key longer than its frame", lengthed(&[0x72, 0x10, 0x01])),
        ("a varint that never ends", lengthed(&[0x68, 0xff, 0xff, 0xff, 0xff])),
    ];
    for (what, bytes) in &cases {
        for state in STATES {
            scene.check(state, what, bytes, MALFORMED);
        }
    }
}

#[test]
fn a_connection_that_ends_within_a_frame_takes_nothing_along() {
    let mut scene = Scene::new();
    let whole = with_id(Some(text(scene.channel, "cut")), ID);
    for state in STATES {
        for cut in 1..whole.len() {
            let mut raw = scene.at(state);
            raw.write(&whole[..cut]).expect("a part of a frame");
        }
        scene.serves();
    }
}

#[test]
fn one_byte_at_a_time_is_a_connection_like_any_other() {
    let scene = Scene::new();
    let string: ConnectionString = scene.hostile.parse().expect("a connection string");
    let mut raw = scene.at(State::Greeting);
    let mut flight = encode(&frame(Ask::Hello(hello(&string, "m"))));
    flight.extend(encode(&frame(Ask::Resume(wire::Resume { last: true, ..Default::default() }))));
    flight.extend(with_id(Some(Ask::ListChannels(Default::default())), ID));
    for byte in flight {
        raw.write(&[byte]).expect("a byte");
    }
    assert!(matches!(raw.next(), Ok(Said::Welcome(_))));
    while raw.next_frame().expect("an answer").id != ID {}
}

#[test]
fn a_resume_that_contradicts_itself_ends_the_connection() {
    let mut scene = Scene::new();
    let cursors = |channel_delta: Vec<u64>, seqs: usize| wire::Resume {
        channel_delta,
        seq: vec![0; seqs],
        last: true,
        ..Default::default()
    };
    let pending = |count: usize, key: &[u8]| wire::Resume {
        pending: vec![
            wire::PendingSend { channel: 8, key: bytes::Bytes::copy_from_slice(key) };
            count
        ],
        last: true,
        ..Default::default()
    };
    let cases = [
        ("channels that stand still", cursors(vec![2, 0], 2), MALFORMED),
        ("channel zero", cursors(vec![0], 1), MALFORMED),
        ("channels that overflow", cursors(vec![u64::MAX, 1], 2), MALFORMED),
        ("more channels than seqs", cursors(vec![1, 1], 1), MALFORMED),
        ("more seqs than channels", cursors(vec![1], 2), MALFORMED),
        ("a cursor too many", cursors(vec![1; 4_097], 4_097), MALFORMED),
        ("as many cursors as may be", cursors(vec![1; 4_096], 4_096), Then::GoesOn),
        ("a pending send too many", pending(257, &[1; 16]), MALFORMED),
        ("as many pending sends as may be", pending(256, &[1; 16]), Then::GoesOn),
        ("pending keys that are none", pending(3, &[1; 5]), Then::GoesOn),
        ("a channel at the end of numbers", cursors(vec![u64::MAX], 1), Then::GoesOn),
    ];
    for (what, resume, then) in cases {
        scene.check(State::Resuming, what, &encode(&frame(Ask::Resume(resume))), then);
    }
    let part = |channel_delta: Vec<u64>| {
        let seq = vec![0; channel_delta.len()];
        encode(&frame(Ask::Resume(wire::Resume { channel_delta, seq, ..Default::default() })))
    };
    let frames_max = usize::from(limits::RESUME_FRAMES_MAX);
    scene.check(State::Resuming, "frames without end", &part(vec![]).repeat(frames_max), MALFORMED);
    let last =
        wire::Resume { channel_delta: vec![10], seq: vec![0], last: true, ..Default::default() };
    let twice = [part(vec![10]), encode(&frame(Ask::Resume(last)))].concat();
    scene.check(State::Resuming, "a channel twice over frames", &twice, MALFORMED);
    let three = [part(vec![1; 4_096]), part([vec![4_097], vec![1; 4_095]].concat())].concat();
    scene.check(State::Resuming, "two full frames", &three, Then::GoesOn);
    let three = [three, part(vec![9_000])].concat();
    scene.check(State::Resuming, "a channel too many over frames", &three, MALFORMED);
}

#[test]
fn more_requests_than_may_be_in_flight_wait_and_are_all_answered_once() {
    let mut scene = Scene::new();
    let mut raw = scene.at(State::Open);
    let mut flight = Vec::new();
    let asked = 5 * u64::from(limits::REQUESTS_IN_FLIGHT_MAX);
    for id in 1..=asked {
        // Every third knows its answer at once, the others ask a store.
        let kind = match id % 3 {
            0 => text(4_000_000, "x"),
            1 => Ask::ListChannels(Default::default()),
            _ => Ask::OpenDirect(wire::OpenDirect { uid: "witness".to_owned() }),
        };
        flight.extend(with_id(Some(kind), id));
    }
    raw.write(&flight).expect("all of them in one flight");
    let mut answered = vec![0; flight.len()];
    let mut missing = asked;
    while missing > 0 {
        let frame = raw.next_frame().expect("an answer");
        if frame.id != 0 && !frame.more {
            answered[usize::try_from(frame.id).expect("a small id")] += 1;
            missing -= 1;
        }
    }
    assert!(answered[1..=usize::try_from(asked).expect("few")].iter().all(|times| *times == 1));
    assert!(raw.fence().expect("it goes on").iter().all(|frame| frame.id == 0), "and no more");
    scene.serves();
}

#[test]
fn a_frame_may_say_a_thing_twice_and_the_last_word_counts() {
    let mut scene = Scene::new();
    let mut body = wire::ClientFrame { kind: Some(text(4_000_000, "x")), ..Default::default() }
        .encode_to_vec();
    body.extend(frame(Ask::Ping(wire::Ping { id: 1 })).encode_to_vec());
    scene.check(State::Open, "Send, then Ping", &lengthed(&body), Then::GoesOn);
    scene.check(State::Greeting, "Send, then Ping", &lengthed(&body), MALFORMED);
}
