//! A server that has as many connections as it may have.

use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;

use super::process::{Process, limited};
use super::raw::{Raw, encode, frame, hello, text};
use super::server::UNBOUND;

/// Descriptors of the small server: a quarter of them is for its stores and files.
const DESCRIPTORS: usize = 240;
/// So many are left for connections.
const CONNECTIONS: usize = DESCRIPTORS - DESCRIPTORS / 4;
/// Devices of each person.
const DEVICES: usize = 10;

/// A connection to come in by; `None`: it was turned away.
fn come(server: &Process, uid: &str, device: &str) -> Option<Raw> {
    let string = server.string(uid).parse().expect("a connection string");
    let mut raw = Raw::connect(&string).ok()?;
    raw.write(&encode(&frame(Ask::Hello(hello(&string, device))))).ok()?;
    matches!(raw.next(), Ok(Said::Welcome(_))).then_some(raw)
}

fn turned_away(server: &Process) -> f64 {
    server.counted("damso_connections_turned_away_total", "reason=\"full\"")
}

#[test]
fn whoever_is_one_too_many_is_turned_away_until_somebody_goes() {
    let server = Process::start(&["--shards", "2", "--connections", "6"]);
    let mut people: Vec<Raw> = (0..6)
        .map(|at| Raw::log_in(&server.string(&format!("p-{at}")), "a", Default::default()).0)
        .collect();
    assert!(come(&server, "late", "a").is_none());
    assert_eq!(turned_away(&server), 1.0);
    for raw in &mut people {
        raw.fence().expect("who is in is served");
    }
    drop(people.pop());
    server.wait_until("a place is free", |server| server.metric("damso_connections") < 6.0);
    assert!(come(&server, "late", "a").is_some());
}

#[test]
fn a_server_with_few_descriptors_keeps_those_of_its_stores() {
    let server = Process::start_as(limited(DESCRIPTORS), &UNBOUND);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let group = wire::CreateChannel { name: "g".to_owned(), ..Default::default() };
    let Said::Channel(group) = alice.ask(Ask::CreateChannel(group)).0 else { panic!("a group") };
    let strings: Vec<_> =
        (0..CONNECTIONS / DEVICES + 1).map(|at| server.string(&format!("p-{at}"))).collect();
    let mut others = Vec::new();
    'all: for string in &strings {
        for device in 0..DEVICES {
            if others.len() + 1 == CONNECTIONS {
                break 'all;
            }
            others.push(Raw::log_in(string, &device.to_string(), Default::default()).0);
        }
    }
    for _ in 0..30 {
        assert!(come(&server, "late", "a").is_none());
    }
    assert_eq!(turned_away(&server), 30.0);
    assert!(server.metric("process_open_fds") <= server.metric("process_max_fds"));
    for at in 0..200 {
        let sent = alice.ask(text(group.channel, &at.to_string())).0;
        assert!(matches!(sent, Said::Ack(_)), "{sent:?}");
    }
    assert_eq!(server.metric("damso_accept_failed_total"), 0.0);
    assert_eq!(server.metric("damso_store_writable"), 1.0);
    drop(others);
    server.wait_until("places are free", |server| server.metric("damso_connections") < 10.0);
    assert!(come(&server, "late", "a").is_some());
}
