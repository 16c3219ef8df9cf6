//! Laws of one connection, told without a socket.

use std::time::Duration;

use prost::Message as _;

use super::*;
use crate::client::Answer;
use crate::wire::server_frame::Kind as Said;

const NOW: Moment = Moment::from_micros(1_000_000);

fn frame(kind: Said, id: u64) -> Vec<u8> {
    wire::ServerFrame { kind: Some(kind), id, more: false }.encode_length_delimited_to_vec()
}

fn welcome() -> wire::Welcome {
    wire::Welcome { heartbeat_ms: 30_000, idle_limit_ms: 90_000, ..Default::default() }
}

fn event(seq: u64, text: &str) -> wire::Event {
    wire::Event {
        channel: 4,
        seq,
        id: seq << 22,
        content: Some(wire::event::Content::Text(text.into())),
        ..Default::default()
    }
}

fn opened() -> (ClientConn, Vec<u8>) {
    let mut out = Vec::new();
    let conn = ClientConn::open(wire::Hello::default(), Vec::new(), NOW, &mut out);
    (conn, out)
}

fn resumed() -> ClientConn {
    let (mut conn, _) = opened();
    let bytes = [frame(Said::Welcome(welcome()), 0), frame(Said::Resumed(Default::default()), 0)];
    said(&mut conn, &bytes.concat(), NOW).expect("a proper login");
    conn
}

/// Everything heard in `bytes`, as text, since what is heard borrows them.
fn said(conn: &mut ClientConn, bytes: &[u8], now: Moment) -> Result<Vec<String>, Fault> {
    let mut input = bytes;
    let mut all = Vec::new();
    while let Some(heard) = conn.next(&mut input, now)? {
        all.push(match heard {
            Heard::Event(event) => format!("{:?}", event.decode().expect("a whole event")),
            other => format!("{other:?}"),
        });
    }
    assert!(input.is_empty(), "everything is taken in");
    Ok(all)
}

fn a_session() -> Vec<u8> {
    let page = wire::Page { channel: 4, from: 1, to: 9, ..Default::default() };
    [
        frame(Said::Welcome(welcome()), 0),
        vec![0],
        frame(Said::Standing(Default::default()), 0),
        frame(Said::Event(event(1, "one")), 0),
        frame(Said::Resumed(Default::default()), 0),
        frame(Said::Event(event(2, &"두".repeat(900))), 0),
        frame(Said::Page(page), 7),
        frame(Said::Ack(wire::Ack { seq: 3, ..Default::default() }), 8),
        vec![0, 0],
        frame(Said::Closing(Default::default()), 0),
    ]
    .concat()
}

#[test]
fn hello_and_resume_leave_in_one_flight_and_the_last_resume_says_so() {
    let mut out = Vec::new();
    let resume = vec![wire::Resume::default(), wire::Resume { epoch: 3, ..Default::default() }];
    ClientConn::open(wire::Hello::default(), resume, NOW, &mut out);
    let mut rest = &out[..];
    let mut last = Vec::new();
    while !rest.is_empty() {
        match wire::ClientFrame::decode_length_delimited(&mut rest).expect("a frame").kind {
            Some(Kind::Hello(_)) => assert!(last.is_empty(), "Hello comes first"),
            Some(Kind::Resume(resume)) => last.push(resume.last),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(last, [false, true]);
}

#[test]
fn what_is_heard_does_not_depend_on_how_the_bytes_are_cut() {
    let session = a_session();
    let (mut whole, _) = opened();
    let expected = said(&mut whole, &session, NOW).expect("a proper session");
    assert_eq!(expected.len(), 8);
    for piece in 1..40 {
        let (mut conn, _) = opened();
        let mut heard = Vec::new();
        for bytes in session.chunks(piece) {
            heard.extend(said(&mut conn, bytes, NOW).expect("a proper session"));
        }
        assert_eq!(heard, expected, "pieces of {piece} bytes");
    }
}

#[test]
fn nothing_is_held_between_frames() {
    let mut conn = resumed();
    let bytes = frame(Said::Event(event(2, "x")), 0);
    let (head, tail) = bytes.split_at(5);
    said(&mut conn, head, NOW).expect("half a frame");
    assert!(conn.held_bytes() > 0);
    said(&mut conn, tail, NOW).expect("the other half");
    assert_eq!(conn.held_bytes(), 0);
}

#[test]
fn an_event_is_recognised_beside_fields_of_a_later_version() {
    let mut conn = resumed();
    let mut body =
        wire::ServerFrame { kind: Some(Said::Event(event(2, "x"))), ..Default::default() }
            .encode_to_vec();
    body.extend([18 << 3 & 0x7f | 0x80, 1, 5]);
    let mut bytes = vec![body.len() as u8];
    bytes.extend(body);
    let mut input = &bytes[..];
    let heard = conn.next(&mut input, NOW);
    assert!(matches!(heard, Ok(Some(Heard::Event(event))) if event.seq.get() == 2), "{heard:?}");
}

#[test]
fn a_frame_that_breaks_the_protocol_is_a_fault() {
    let cases: [(&str, Vec<u8>); 5] = [
        ("an event before Welcome", frame(Said::Event(event(1, "")), 0)),
        ("a length that lies", vec![0xff, 0xff, 0xff, 0x7f]),
        ("a length without end", vec![0xff; 10]),
        ("garbage", vec![3, 0xff, 0xff, 0xff]),
        ("two Welcomes", frame(Said::Welcome(welcome()), 0).repeat(2)),
    ];
    for (name, bytes) in cases {
        let (mut conn, _) = opened();
        assert!(said(&mut conn, &bytes, NOW).is_err(), "{name}");
        assert!(conn.held_bytes() < 64, "{name}: nothing is allocated for a length alone");
    }
}

#[test]
fn after_closing_nothing_is_heard() {
    let mut conn = resumed();
    let bytes = [frame(Said::Closing(Default::default()), 0), vec![0xff; 40]].concat();
    assert_eq!(said(&mut conn, &bytes, NOW).map(|heard| heard.len()), Ok(1));
    assert_eq!(conn.poll_timeout(), None);
}

#[test]
fn requests_carry_rising_ids_and_answers_name_them() {
    let mut conn = resumed();
    let mut out = Vec::new();
    let find = || Ask::reading(Kind::FindPeople(Default::default()));
    let first = conn.ask(find(), NOW, &mut out);
    let second = conn.ask(find(), NOW, &mut out);
    assert!(first < second);
    let answer = frame(Said::People(Default::default()), second.get());
    let mut input = &answer[..];
    match conn.next(&mut input, NOW) {
        Ok(Some(Heard::Answer { id, more: false, answer: Answer::People(_) })) => {
            assert_eq!(id, second);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_silent_server_is_probed_and_then_given_up() {
    let mut conn = resumed();
    let mut out = Vec::new();
    let probe_at = conn.poll_timeout().expect("an open connection waits for something");
    assert_eq!(probe_at, NOW.plus(Duration::from_secs(30)));
    assert_eq!(conn.handle_timeout(probe_at, &mut out), Ok(()));
    let asked = wire::ClientFrame::decode_length_delimited(&out[..]).expect("a frame").kind;
    assert!(matches!(asked, Some(Kind::Ping(_))), "{asked:?}");
    let dead_at = NOW.plus(Duration::from_secs(90));
    let mut now = probe_at;
    while now < dead_at {
        now = conn.poll_timeout().expect("still open");
        let due = conn.handle_timeout(now, &mut out);
        assert_eq!(due.is_err(), now >= dead_at, "{now:?}");
    }
}

#[test]
fn one_who_only_listens_still_says_that_they_are_there() {
    let mut conn = resumed();
    let mut out = Vec::new();
    let later = NOW.plus(Duration::from_secs(29));
    said(&mut conn, &frame(Said::Event(event(2, "x")), 0), later).expect("an event");
    assert_eq!(conn.handle_timeout(NOW.plus(Duration::from_secs(30)), &mut out), Ok(()));
    assert_eq!(out, [0], "a keep-alive, since the server was heard a second ago");
}

#[test]
fn after_a_network_change_the_server_has_two_seconds() {
    let limit = Duration::from_secs(2);
    let mut conn = resumed();
    conn.network_changed(NOW, &mut Vec::new());
    assert_eq!(conn.poll_timeout(), Some(NOW.plus(limit)));
    assert_eq!(conn.handle_timeout(NOW.plus(limit), &mut Vec::new()), Err(Silence::Probe));

    let mut conn = resumed();
    conn.network_changed(NOW, &mut Vec::new());
    said(&mut conn, &frame(Said::Pong(wire::Pong { id: 1, time_ms: 0 }), 0), NOW).expect("a pong");
    assert_eq!(conn.handle_timeout(NOW.plus(limit), &mut Vec::new()), Ok(()));
}

#[test]
fn a_login_without_an_answer_ends() {
    let (mut conn, _) = opened();
    let due = conn.poll_timeout().expect("a login has a limit");
    assert_eq!(conn.handle_timeout(due, &mut Vec::new()), Err(Silence::Login));
}
