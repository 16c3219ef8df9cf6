//! Laws of one connection, told without a socket.

use std::time::Duration;

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::code::CloseCode;
use crate::id::{Key, RequestId};
use crate::server::line::{NEVER, decode};
use crate::wire;
use crate::wire::client_frame::Kind;

const NOW: Moment = Moment::from_micros(5_000_000);

fn framed(frame: &wire::ClientFrame) -> Vec<u8> {
    frame::encode_client(frame).to_vec()
}

fn frame_of(kind: Kind, id: u64) -> Vec<u8> {
    framed(&wire::ClientFrame { kind: Some(kind), id, ..Default::default() })
}

fn hello() -> Vec<u8> {
    frame_of(Kind::Hello(wire::Hello { device: "d".into(), ..Default::default() }), 0)
}

fn resume(last: bool) -> Vec<u8> {
    let cursors =
        wire::Resume { channel_delta: vec![3, 1], seq: vec![9, 0], last, ..Default::default() };
    frame_of(Kind::Resume(cursors), 0)
}

fn send(id: u64, text: &str) -> Vec<u8> {
    let send = wire::Send {
        channel: 4,
        content: Some(wire::send::Content::Text(text.into())),
        ..Default::default()
    };
    framed(&wire::ClientFrame {
        kind: Some(Kind::Send(send)),
        id,
        key: bytes::Bytes::copy_from_slice(Key::new(1, [5; 10]).as_bytes()),
        deadline_ms: 700,
        attempt: 2,
        traceparent: "00-ab".into(),
    })
}

fn ping(id: u64) -> Vec<u8> {
    frame_of(Kind::Ping(wire::Ping { id }), 0)
}

/// A request of a kind that is not made yet.
fn unknown(id: u8) -> Vec<u8> {
    vec![6, 0xc2, 0x0c, 1, b'?', 13 << 3, id]
}

fn greeting() -> ServerConn {
    ServerConn::new(ServerOptions::default(), NOW)
}

fn logging_in() -> ServerConn {
    let mut conn = greeting();
    hear(&mut conn, &hello()).expect("a Hello");
    conn
}

fn resuming() -> ServerConn {
    let mut conn = logging_in();
    conn.accept(NOW);
    conn
}

fn open() -> ServerConn {
    let mut conn = resuming();
    hear(&mut conn, &resume(true)).expect("a Resume");
    conn
}

/// Everything said in `bytes`, as text.
fn hear(conn: &mut ServerConn, bytes: &[u8]) -> Result<Vec<String>, Fault> {
    hear_at(conn, bytes, NOW)
}

fn hear_at(conn: &mut ServerConn, mut bytes: &[u8], now: Moment) -> Result<Vec<String>, Fault> {
    let mut all = Vec::new();
    while let Some(said) = conn.next(&mut bytes, now)? {
        all.push(format!("{said:?}"));
    }
    assert!(bytes.is_empty(), "all input is taken");
    Ok(all)
}

/// A whole client, which a server accepts and answers as soon as it may.
fn served(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<String> {
    let mut conn = greeting();
    let mut all = Vec::new();
    for piece in pieces {
        let mut input = &piece[..];
        loop {
            let Some(said) = conn.next(&mut input, NOW).expect("a proper client") else { break };
            match said {
                Said::Hello(_) => conn.accept(NOW),
                Said::Request(_) | Said::Unknown(_) => conn.answered(),
                _ => {}
            }
            all.push(format!("{said:?}"));
        }
    }
    assert_eq!(conn.held_bytes(), 0, "the session ended on a frame's end");
    all
}

fn a_session() -> Vec<u8> {
    let long = "두".repeat(5_000);
    let parts = [
        vec![0],
        hello(),
        resume(false),
        vec![0],
        ping(1),
        resume(true),
        send(1, "one"),
        send(2, &long),
        unknown(3),
        unknown(0),
        frame_of(Kind::Cancel(wire::Cancel { id: 2 }), 0),
        frame_of(Kind::Pong(wire::Pong { id: 8, time_ms: 9 }), 0),
        vec![0, 0],
    ];
    parts.concat()
}

#[test]
fn a_request_comes_out_as_it_went_in() {
    let mut conn = open();
    let bytes = send(7, "안녕");
    let mut input = &bytes[..];
    let said = conn.next(&mut input, NOW).expect("a frame");
    let Some(Said::Request(request)) = said else { panic!("{said:?}") };
    assert_eq!(request.id, RequestId::new(7));
    assert_eq!(request.key, Some(Key::new(1, [5; 10])));
    assert_eq!((request.deadline_ms, request.attempt), (700, 2));
    assert_eq!(request.traceparent, "00-ab");
    let Kind::Send(send) = request.kind else { panic!("{:?}", request.kind) };
    assert_eq!(send.content, Some(wire::send::Content::Text("안녕".into())));
    assert_eq!(conn.held_bytes(), 0);
}

#[test]
fn a_bad_key_is_no_key_and_the_last_one_counts() {
    let good = Key::new(2, [0; 10]);
    let field = |key: &[u8]| [&[14 << 3 | 2, key.len() as u8][..], key].concat();
    let cases = [
        (Vec::new(), None),
        (field(b"short"), None),
        (field(good.as_bytes()), Some(good)),
        ([field(good.as_bytes()), field(b"short")].concat(), None),
        ([field(b"short"), field(good.as_bytes())].concat(), Some(good)),
    ];
    for (fields, expected) in cases {
        let mut body = frame_of(Kind::ListChannels(Default::default()), 7).split_off(1);
        body.extend(&fields);
        let (_, key) = decode(&body).expect("a frame");
        assert_eq!(key, expected, "{fields:x?}");
    }
    assert!(decode(&[14 << 3 | 2, 200, 1]).is_err(), "a key longer than its frame");
    assert!(decode(&[14 << 3, 1]).is_err(), "a key that is a number");
}

#[test]
fn every_kind_of_frame_has_its_stage() {
    let kinds = [
        ("keep-alive", vec![0]),
        ("hello", hello()),
        ("resume", resume(false)),
        ("last resume", resume(true)),
        ("ping", ping(3)),
        ("pong", frame_of(Kind::Pong(Default::default()), 0)),
        ("cancel", frame_of(Kind::Cancel(wire::Cancel { id: 1 }), 0)),
        ("request", send(1, "x")),
        ("request without id", send(0, "x")),
        ("unknown request", unknown(1)),
        ("unknown", unknown(0)),
        ("nonsense", vec![1, 7]),
    ];
    // Whether it is heard: + something is said, 0 nothing is, ! a fault.
    type Made = fn() -> ServerConn;
    let stages: [(&str, Made, &str); 4] = [
        ("greeting", greeting, "++!!!!!!!!!!"),
        ("logging in", logging_in, "000000000000"),
        ("resuming", resuming, "+!++++!!!!!!"),
        ("open", open, "+!!!++++!+0!"),
    ];
    for (stage, conn, expected) in stages {
        let heard: String = kinds
            .iter()
            .map(|(_, bytes)| match hear(&mut conn(), bytes) {
                Ok(said) if said.is_empty() => '0',
                Ok(_) => '+',
                Err(fault) => {
                    assert_eq!(fault.close_code(), CloseCode::Malformed);
                    '!'
                }
            })
            .collect();
        assert_eq!(heard, expected, "{stage}: {:?}", kinds.map(|(name, _)| name));
    }
}

#[test]
fn the_longest_frame_depends_on_the_stage() {
    let cases: [(fn() -> ServerConn, u32); 3] = [
        (greeting, limits::FRAME_BEFORE_LOGIN_BYTES_MAX),
        (resuming, limits::FRAME_BYTES_MAX),
        (open, limits::FRAME_BYTES_MAX),
    ];
    for (conn, max) in cases {
        let length = |bytes: u32| {
            let mut out = Vec::new();
            prost::encoding::encode_varint(bytes.into(), &mut out);
            out
        };
        assert_eq!(hear(&mut conn(), &length(max)), Ok(Vec::new()), "{max} may come");
        let mut conn = conn();
        let fault = hear(&mut conn, &length(max + 1)).expect_err("too large");
        assert_eq!(fault.close_code(), CloseCode::FrameTooLarge);
        assert_eq!(conn.held_bytes(), 0, "nothing is kept of a broken connection");
        assert_eq!(hear(&mut conn, &ping(1)), Ok(Vec::new()), "nor heard");
    }
}

#[test]
fn a_length_alone_allocates_nothing_to_speak_of() {
    let mut conn = open();
    hear(&mut conn, &[0x80, 0x80, 0x04]).expect("64 KiB may come");
    assert!(conn.held_bytes() < 16, "{}", conn.held_bytes());
}

#[test]
fn what_stands_behind_hello_waits_for_the_login() {
    let mut conn = greeting();
    let flight = [hello(), resume(true), send(1, "early")].concat();
    assert_eq!(hear(&mut conn, &flight).expect("a login").len(), 1);
    assert!(conn.holds_input() && !conn.is_paused());
    assert_eq!(hear(&mut conn, &ping(4)), Ok(Vec::new()));
    conn.accept(NOW);
    assert_eq!(hear(&mut conn, &[]).expect("the rest").len(), 3);
    assert_eq!(conn.held_bytes(), 0);
}

#[test]
fn behind_hello_reading_stops_and_whoever_reads_on_meets_a_fault() {
    let mut conn = logging_in();
    let most = limits::BEHIND_HELLO_BYTES_MAX;
    hear(&mut conn, &vec![0; most - 1]).expect("there is room");
    assert!(!conn.is_paused());
    hear(&mut conn, &vec![0; limits::READ_BYTES_MAX]).expect("one reading more");
    assert!(conn.is_paused());
    assert_eq!(conn.poll_timeout(), NEVER);
    let fault = hear(&mut conn, &[0; 2]).expect_err("reading was to stop");
    assert_eq!(fault, Fault::Unread { bytes: most + limits::READ_BYTES_MAX + 1 });
    assert_eq!(conn.held_bytes(), 0);
}

#[test]
fn with_all_requests_in_flight_the_rest_waits_for_an_answer() {
    let most = u64::from(limits::REQUESTS_IN_FLIGHT_MAX);
    let mut conn = open();
    let flight: Vec<u8> = (1..=most + 3).flat_map(|id| send(id, "x")).collect();
    let (now, later) = flight.split_at(flight.len() - 5);
    assert_eq!(hear(&mut conn, now).expect("requests").len() as u64, most);
    assert!(conn.is_paused() && conn.holds_input());
    assert_eq!(hear(&mut conn, later), Ok(Vec::new()), "still full");
    for _ in 0..3 {
        conn.answered();
        assert!(!conn.is_paused());
        assert_eq!(hear(&mut conn, &[]).expect("one more").len(), 1);
        assert!(conn.is_paused());
    }
    assert_eq!(conn.held_bytes(), 0, "all was read");
    conn.answered();
    conn.answered();
    assert_eq!(hear(&mut conn, &unknown(9)).expect("an unknown one").len(), 1);
    assert!(!conn.is_paused());
    hear(&mut conn, &unknown(9)).expect("an unknown one");
    assert!(conn.is_paused(), "unknown requests are answered too");
}

#[test]
fn silence_is_probed_once_then_ends_the_connection() {
    let options = ServerOptions::default();
    let mut conn = open();
    let at = |after: Duration| NOW.plus(after);
    assert_eq!(conn.poll_timeout(), at(options.probe_after));
    assert_eq!(conn.handle_timeout(at(options.probe_after - Duration::from_micros(1))), None);
    assert_eq!(conn.handle_timeout(at(options.probe_after)), Some(Due::Probe(1)));
    assert_eq!(conn.handle_timeout(at(options.probe_after)), None);
    assert_eq!(conn.poll_timeout(), at(options.idle_limit));

    let heard = at(options.probe_after + Duration::from_secs(1));
    hear_at(&mut conn, &[0], heard).expect("a keep-alive");
    assert_eq!(conn.poll_timeout(), heard.plus(options.probe_after));
    assert_eq!(conn.handle_timeout(heard.plus(options.probe_after)), Some(Due::Probe(2)));
    let end = heard.plus(options.idle_limit);
    assert_eq!(conn.handle_timeout(end), Some(Due::Close(CloseCode::Idle)));
    assert_eq!((conn.handle_timeout(end), conn.poll_timeout()), (None, NEVER));
}

#[test]
fn dripping_bytes_do_not_put_off_the_login() {
    let options = ServerOptions::default();
    let mut conn = greeting();
    let late = NOW.plus(options.login_limit);
    hear_at(&mut conn, &[0, 0, 200], NOW.plus(options.login_limit / 2)).expect("a beginning");
    assert_eq!(conn.poll_timeout(), late);
    assert_eq!(conn.handle_timeout(late), Some(Due::Close(CloseCode::LoginLate)));
}

#[test]
fn the_silence_of_a_pause_is_not_the_clients() {
    let mut conn = open();
    let most = u64::from(limits::REQUESTS_IN_FLIGHT_MAX);
    let flight: Vec<u8> = (1..=most).flat_map(|id| send(id, "x")).collect();
    hear(&mut conn, &flight).expect("requests");
    assert_eq!(conn.poll_timeout(), NEVER);
    let much_later = NOW.plus(Duration::from_secs(3_600));
    assert_eq!(conn.handle_timeout(much_later), None);
    conn.answered();
    assert_eq!(conn.handle_timeout(much_later), None);
    let probe = much_later.plus(ServerOptions::default().probe_after);
    assert_eq!(conn.poll_timeout(), probe);
    assert_eq!(conn.handle_timeout(probe), Some(Due::Probe(1)));
}

#[test]
fn a_resume_that_contradicts_itself_is_a_fault() {
    let resume = |channel_delta: &[u64], seqs: usize, pending: usize| {
        let resume = wire::Resume {
            channel_delta: channel_delta.to_vec(),
            seq: vec![1; seqs],
            pending: vec![Default::default(); pending],
            ..Default::default()
        };
        hear(&mut resuming(), &frame_of(Kind::Resume(resume), 0)).is_ok()
    };
    assert!(resume(&[1; 4_096], 4_096, 256));
    assert!(resume(&[u64::MAX], 1, 0));
    assert!(!resume(&[1; 4_097], 4_097, 0), "too many cursors");
    assert!(!resume(&[1; 3], 2, 0), "a channel without a seq");
    assert!(!resume(&[1, 0], 2, 0), "a channel twice");
    assert!(!resume(&[u64::MAX, 1], 2, 0), "beyond all numbers");
    assert!(!resume(&[], 0, 257), "too many pending sends");
}

#[test]
fn resumes_come_to_an_end() {
    let mut conn = resuming();
    let most = usize::from(limits::RESUME_FRAMES_MAX);
    hear(&mut conn, &super::tests::resume(false).repeat(most - 1)).expect("there is room");
    assert!(hear(&mut conn, &super::tests::resume(false)).is_err());
}

proptest! {
    #[test]
    fn what_is_said_does_not_depend_on_how_the_bytes_are_cut(
        pieces in prop::collection::vec(1_usize..400, 1..200)
    ) {
        let session = a_session();
        let expected = served(std::iter::once(session.clone()));
        prop_assert_eq!(expected.len(), 13);
        let single = served(session.iter().map(|byte| vec![*byte]));
        prop_assert_eq!(&single, &expected);
        let mut rest = &session[..];
        let mut sizes = pieces.iter().cycle();
        let cut = served(std::iter::from_fn(|| {
            let size = sizes.next().copied().unwrap_or(1).min(rest.len());
            let (piece, behind) = rest.split_at(size);
            rest = behind;
            (!piece.is_empty()).then(|| piece.to_vec())
        }));
        prop_assert_eq!(&cut, &expected);
    }

    #[test]
    fn hostile_bytes_never_panic_and_never_pile_up(
        stage in 0_usize..4,
        pieces in prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..3_000),
                prop::collection::vec(0_u8..20, 0..3_000),
                (1_u64..80, ".{0,200}").prop_map(|(id, text)| send(id, &text)),
                Just(vec![0xff, 0x7f]),
            ],
            0..40,
        )
    ) {
        let mut conn = [greeting, logging_in, resuming, open][stage]();
        for piece in pieces {
            let paused = conn.is_paused();
            let _ = hear(&mut conn, if paused { &[] } else { &piece });
            prop_assert!(conn.held_bytes() <= 2 * limits::FRAME_BYTES_MAX as usize);
        }
    }

    #[test]
    fn a_frame_is_read_as_the_library_reads_it(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            (any::<u64>(), prop::collection::vec(any::<u8>(), 0..20), ".{0,9}").prop_map(
                |(id, key, text)| {
                    let kind = Some(Kind::FindPeople(wire::FindPeople {
                        users: vec![id],
                        uids: vec![text],
                    }));
                    wire::ClientFrame { kind, id, key: key.into(), ..Default::default() }
                        .encode_to_vec()
                }
            ),
        ]
    ) {
        let theirs = wire::ClientFrame::decode(&body[..]);
        let ours = decode(&body);
        prop_assert_eq!(theirs.is_ok(), ours.is_ok());
        if let (Ok(theirs), Ok((ours, key))) = (theirs, ours) {
            prop_assert_eq!(key, Key::parse(&theirs.key));
            prop_assert_eq!(ours, wire::ClientFrame { key: Default::default(), ..theirs });
        }
    }
}
