//! The last frame of a connection is always read, whatever its client goes on saying.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use damso_proto::address::ConnectionString;
use damso_proto::code::CloseCode;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;

use super::raw::{Raw, encode, frame, hello, narrow, trusting};
use super::server::{Local, UNBOUND};

/// Times that each connection ends.
const ENDS: usize = 50;
/// Pieces of what a client says, and goes on saying: about a megabyte.
const PIECES: usize = 64;

/// Sixteen frames of a thousand bytes that are no protobuf.
fn nonsense() -> Vec<u8> {
    let frame = [&[0xe8, 0x07][..], &[0xff; 1_000]].concat();
    frame.repeat(16)
}

/// Nonsense without end. Whether the server takes it is not asked.
fn rave(raw: &mut Raw) {
    let nonsense = nonsense();
    for _ in 0..PIECES {
        if raw.write(&nonsense).is_err() {
            return;
        }
    }
}

fn string(server: &Local, uid: &str) -> ConnectionString {
    server.string(uid).parse().expect("a connection string")
}

fn ping(id: u64) -> Vec<u8> {
    encode(&frame(Ask::Ping(wire::Ping { id })))
}

#[test]
fn a_session_that_raves_reads_why_it_ends() {
    let server = Local::start(&UNBOUND);
    for round in 0..ENDS {
        let (mut raw, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
        rave(&mut raw);
        assert_eq!(raw.closing(), Some(CloseCode::Malformed), "round {round}");
    }
}

#[test]
fn a_stranger_who_raves_reads_why_they_are_refused() {
    let server = Local::start(&UNBOUND);
    let string = string(&server, "alice");
    let token = "eyJhbGciOiJFZERTQSJ9.e30.AA".to_owned();
    let forged = wire::Hello { token, ..hello(&string, "a") };
    for round in 0..ENDS {
        let mut raw = Raw::connect(&string).expect("a connection");
        if round % 2 == 0 {
            raw.write(&encode(&frame(Ask::Hello(forged.clone())))).expect("Hello");
        }
        rave(&mut raw);
        let code = if round % 2 == 0 { CloseCode::TokenInvalid } else { CloseCode::Malformed };
        assert_eq!(raw.closing(), Some(code), "round {round}");
    }
}

#[test]
fn what_was_said_before_the_end_arrives_although_it_has_to_wait() {
    const PINGS: u64 = 600;
    let server = Local::start(&UNBOUND);
    let string = string(&server, "alice");
    for round in 0..ENDS {
        let stream = narrow(&string).expect("a connection");
        let mut raw = Raw::over(stream, &string, trusting(&[b"damso/1"]));
        raw.come_in(&string, "a", Default::default());
        let mut flight: Vec<u8> = (1..=PINGS).flat_map(ping).collect();
        flight.extend(nonsense());
        raw.write(&flight).expect("pings, and what is no frame");
        // More than the client has room for waits at the server when it ends the connection.
        thread::sleep(Duration::from_millis(10));
        drop(raw.write(&nonsense()));
        let mut heard = raw.rest();
        let last = heard.pop().and_then(|frame| frame.kind);
        assert!(matches!(last, Some(Said::Closing(_))), "round {round}: {last:?}");
        assert_eq!(heard.len() as u64, PINGS, "round {round}");
    }
}

#[test]
fn who_does_not_stop_talking_is_told_that_the_server_stops() {
    const CLIENTS: usize = 8;
    let mut server = Local::start(&UNBOUND);
    let strings: Vec<_> = (0..CLIENTS).map(|n| string(&server, &format!("u{n}"))).collect();
    let ready = Barrier::new(CLIENTS + 1);
    thread::scope(|scope| {
        let clients: Vec<_> = strings
            .iter()
            .map(|string| {
                scope.spawn(|| {
                    let mut raw = Raw::connect(string).expect("a connection");
                    raw.come_in(string, "a", Default::default());
                    ready.wait();
                    for id in 1..=200 {
                        if raw.write(&ping(id)).is_err() {
                            break;
                        }
                        thread::sleep(Duration::from_millis(1));
                    }
                    raw.closing()
                })
            })
            .collect();
        ready.wait();
        server.restart(&UNBOUND);
        for client in clients {
            let closing = client.join().expect("a client");
            assert_eq!(closing, Some(CloseCode::GoingAway));
        }
    });
}
