//! The server's end of a connection: what waits, what is due, what is kept.

use std::time::Duration;

use damso_proto::code::CloseCode;
use damso_proto::frame;
use damso_proto::limits;
use damso_proto::server::{Due, Fault, Said, ServerConn, ServerOptions};
use damso_proto::time::Moment;
use damso_proto::wire::client_frame::Kind;
use damso_proto::wire::{self, ClientFrame};

use super::hostile::server_in;
use super::samples;

const START: Moment = Moment::from_micros(1_000_000);

fn at(seconds: u64) -> Moment {
    START.plus(Duration::from_secs(seconds))
}

fn bytes_of(kind: Kind, id: u64) -> Vec<u8> {
    frame::encode_client(&ClientFrame { kind: Some(kind), id, ..Default::default() }).to_vec()
}

fn ping(id: u64) -> Vec<u8> {
    bytes_of(Kind::Ping(wire::Ping { id }), 0)
}

fn find(id: u64) -> Vec<u8> {
    bytes_of(Kind::FindPeople(wire::FindPeople::default()), id)
}

fn sample(name: &str) -> Vec<u8> {
    samples::client().iter().find(|sample| sample.name == name).expect("a sample").bytes()
}

/// Everything said in `bytes`, shortly.
fn said(conn: &mut ServerConn, bytes: &[u8], now: Moment) -> Result<Vec<String>, Fault> {
    let mut input = bytes;
    let mut all = Vec::new();
    while let Some(said) = conn.next(&mut input, now)? {
        all.push(match said {
            Said::Request(request) => format!("request {}", request.id),
            other => format!("{other:?}").chars().take(12).collect(),
        });
    }
    assert!(input.is_empty(), "everything is taken in");
    Ok(all)
}

#[test]
fn what_comes_behind_hello_waits_unread_until_the_login_is_accepted() {
    let mut conn = ServerConn::new(ServerOptions::default(), START);
    // A frame that only a client in a hurry would send so early, and garbage behind it.
    let flight = [sample("hello"), sample("resume"), ping(4), vec![3, 0xff, 0xff, 0xff]].concat();
    let mut input = &flight[..];
    assert!(matches!(conn.next(&mut input, START), Ok(Some(Said::Hello(_)))));
    assert!(matches!(conn.next(&mut input, START), Ok(None)), "not even the garbage is read");
    assert!(input.is_empty() && conn.holds_input());
    conn.accept(START);
    assert!(matches!(conn.next(&mut input, START), Ok(Some(Said::Resume(_)))));
    assert!(matches!(conn.next(&mut input, START), Ok(Some(Said::Ping(4)))));
    assert!(matches!(conn.next(&mut input, START), Err(Fault::Malformed(_))));
}

#[test]
fn behind_hello_reading_stops_at_its_limit_and_whoever_reads_on_is_cut() {
    let mut conn = ServerConn::new(ServerOptions::default(), START);
    said(&mut conn, &sample("hello"), START).expect("a Hello");
    let half = vec![0; limits::BEHIND_HELLO_BYTES_MAX / 2];
    assert_eq!(said(&mut conn, &half, START), Ok(vec![]));
    assert!(!conn.is_paused());
    assert_eq!(said(&mut conn, &half, START), Ok(vec![]));
    assert!(conn.is_paused());
    // One reading may already have been under way.
    assert_eq!(said(&mut conn, &vec![0; limits::READ_BYTES_MAX], START), Ok(vec![]));
    let more = said(&mut conn, &[0], START);
    assert!(matches!(more, Err(Fault::Unread { .. })), "{more:?}");
    assert_eq!(conn.held_bytes(), 0);
}

#[test]
fn requests_beyond_those_in_flight_wait_until_one_is_answered() {
    let mut conn = server_in("open");
    let most = u64::from(limits::REQUESTS_IN_FLIGHT_MAX);
    let bytes: Vec<u8> = (1..=most + 3).flat_map(find).collect();
    assert_eq!(said(&mut conn, &bytes, START).expect("requests").len() as u64, most);
    assert!(conn.is_paused() && conn.holds_input());
    conn.answered();
    assert!(!conn.is_paused());
    let further = said(&mut conn, &[], START).expect("no fault");
    assert_eq!(further, [format!("request {}", most + 1)]);
    conn.answered();
    conn.answered();
    assert_eq!(said(&mut conn, &ping(9), START).expect("no fault").len(), 2);
    assert!(conn.is_paused(), "the ping waits as well: it came behind");
    conn.answered();
    assert_eq!(said(&mut conn, &[], START), Ok(vec!["Ping(9)".into()]));
    assert_eq!(conn.held_bytes(), 0, "nothing is kept at rest");
}

#[test]
fn requests_of_unknown_kinds_are_in_flight_too() {
    let mut conn = server_in("open");
    let unknown = [0x05, 0xc2, 0x0c, 0x00, 0x68, 0x09];
    let bytes = unknown.repeat(usize::from(limits::REQUESTS_IN_FLIGHT_MAX));
    said(&mut conn, &bytes, START).expect("unknown, but well formed");
    assert!(conn.is_paused(), "or refusals would pile up without a limit");
}

#[test]
fn at_rest_nothing_is_allocated() {
    assert!(size_of::<ServerConn>() <= 120);
    for piece in [1, 3, 64, 100_000] {
        let mut conn = server_in("open");
        for _ in 0..10 {
            let bytes = sample("send-text");
            for bytes in bytes.chunks(piece) {
                said(&mut conn, bytes, START).expect("a send");
            }
            assert_eq!(conn.held_bytes(), 0, "pieces of {piece}");
        }
    }
}

#[test]
fn no_more_is_kept_of_a_frame_than_came() {
    let mut conn = server_in("open");
    // 65,536 bytes are announced, and ten come.
    said(&mut conn, &[0x80, 0x80, 0x04, 0x0a, 0, 0, 0, 0, 0, 0], START).expect("a beginning");
    assert!(conn.held_bytes() <= 64, "{} bytes for ten", conn.held_bytes());
}

/// A list in a frame of N bytes takes at most so many times N in memory.
#[test]
fn a_decoded_frame_is_at_most_32_times_its_bytes() {
    // The shortest entry of each list is a tag and a zero length, or one byte when packed.
    let entries = [
        ("Resume.pending", size_of::<wire::PendingSend>(), 2),
        ("Resume.seq", size_of::<u64>(), 1),
        ("ReadOutcome.keys", size_of::<wire::PendingKey>(), 2),
        ("CreateChannel.uids", size_of::<String>(), 2),
        ("AddMembers.uids", size_of::<String>(), 2),
        ("FindPeople.users", size_of::<u64>(), 1),
        ("FindPeople.uids", size_of::<String>(), 2),
        ("Hello.capabilities", size_of::<u32>(), 1),
    ];
    for (list, memory, bytes) in entries {
        assert!(memory <= 32 * bytes, "{list}: {memory} bytes of memory for {bytes}");
    }
}

#[test]
fn a_trace_context_of_any_length_is_no_fault_but_only_a_short_one_is_passed_on() {
    for (length, kept) in [(55, 55), (128, 128), (129, 0), (60_000, 0)] {
        let frame = ClientFrame {
            kind: Some(Kind::FindPeople(wire::FindPeople::default())),
            id: 1,
            traceparent: "0".repeat(length),
            ..Default::default()
        };
        let bytes = frame::encode_client(&frame);
        match server_in("open").next(&mut &bytes[..], START) {
            Ok(Some(Said::Request(request))) => assert_eq!(request.traceparent.len(), kept),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_silent_client_is_probed_once_and_then_closed() {
    let mut conn = server_in("open");
    assert_eq!(conn.poll_timeout(), at(60));
    assert_eq!(conn.handle_timeout(at(59)), None);
    assert_eq!(conn.handle_timeout(at(60)), Some(Due::Probe(1)));
    assert_eq!(conn.handle_timeout(at(60)), None);
    assert_eq!(conn.poll_timeout(), at(150));
    assert_eq!(conn.handle_timeout(at(150)), Some(Due::Close(CloseCode::Idle)));
    assert_eq!(conn.handle_timeout(at(9_999)), None, "it is told once");
}

#[test]
fn any_whole_frame_ends_a_silence_and_the_next_probe_has_another_id() {
    let mut conn = server_in("open");
    assert_eq!(conn.handle_timeout(at(60)), Some(Due::Probe(1)));
    said(&mut conn, &[0], at(100)).expect("a keep-alive");
    assert_eq!(conn.poll_timeout(), at(160));
    assert_eq!(conn.handle_timeout(at(160)), Some(Due::Probe(2)));
}

#[test]
fn a_frame_that_dribbles_in_is_not_waited_for_longer_than_a_silence() {
    let mut conn = server_in("open");
    let mut second = 0;
    for byte in [0x80, 0x80, 0x04].into_iter().chain([0; 400]) {
        second += 1;
        said(&mut conn, &[byte], at(second)).expect("a beginning");
        if let Some(Due::Close(code)) = conn.handle_timeout(at(second)) {
            assert_eq!((code, second), (CloseCode::Idle, 150));
            return;
        }
    }
    panic!("kept for {second} seconds");
}

#[test]
fn hello_and_the_last_resume_come_in_time_or_the_connection_ends() {
    let late = Some(Due::Close(CloseCode::LoginLate));
    let mut conn = ServerConn::new(ServerOptions::default(), START);
    said(&mut conn, &[0, 0], at(9)).expect("keep-alives");
    assert_eq!(conn.handle_timeout(at(9)), None);
    assert_eq!(conn.handle_timeout(at(10)), late, "keep-alives do not put it off");

    let mut conn = ServerConn::new(ServerOptions::default(), START);
    said(&mut conn, &sample("hello"), at(9)).expect("a Hello");
    assert_eq!(conn.handle_timeout(at(1_000)), None, "now the server is waited for");
    conn.accept(at(1_000));
    said(&mut conn, &[sample("resume-part"), ping(1)].concat(), at(1_009)).expect("a part");
    assert_eq!(conn.handle_timeout(at(1_009)), None);
    assert_eq!(conn.handle_timeout(at(1_010)), late);
}

#[test]
fn a_login_ends_after_a_bounded_number_of_resume_frames() {
    let mut conn = server_in("resuming");
    let part = sample("resume-part");
    for _ in 1..limits::RESUME_FRAMES_MAX {
        said(&mut conn, &part, START).expect("a part");
    }
    assert!(matches!(said(&mut conn, &part, START), Err(Fault::Unexpected(_))));
}

#[test]
fn a_pause_of_the_server_is_not_a_silence_of_the_client() {
    // Because too many requests are in flight.
    let mut conn = server_in("open");
    let bytes: Vec<u8> = (1..=40).flat_map(find).collect();
    said(&mut conn, &bytes, START).expect("requests");
    assert_eq!(conn.poll_timeout().micros(), u64::MAX);
    assert_eq!(conn.handle_timeout(at(1_000)), None);
    (0..40).for_each(|_| conn.answered());
    assert_eq!(conn.handle_timeout(at(2_000)), None, "the client could not be heard");
    assert_eq!(conn.poll_timeout(), at(2_060));

    // Because the caller has a reason of its own.
    let mut conn = server_in("open");
    conn.hold(true);
    assert_eq!(conn.poll_timeout().micros(), u64::MAX);
    assert_eq!(conn.handle_timeout(at(1_000)), None);
    conn.hold(false);
    assert_eq!(conn.handle_timeout(at(2_000)), None);
    assert_eq!(conn.handle_timeout(at(2_060)), Some(Due::Probe(1)));
}

#[test]
fn settings_never_allow_less_than_the_protocol_does() {
    let options =
        ServerOptions { frame_bytes_max: 10, requests_in_flight_max: 0, ..Default::default() };
    let mut conn = ServerConn::new(options, START);
    said(&mut conn, &sample("hello"), START).expect("a Hello");
    conn.accept(START);
    let bytes = [sample("resume"), find(1), find(2)].concat();
    assert_eq!(said(&mut conn, &bytes, START).expect("in order").len(), 2, "one is in flight");
}
