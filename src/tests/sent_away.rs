//! Tokens and devices that count no more, while messages flow and people come in.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use damso::requests::RevokeError;
use damso_proto::address::ConnectionString;
use damso_proto::code::CloseCode;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::event::Content;
use damso_proto::wire::server_frame::Kind as Said;

use super::process::{Process, binary};
use super::raw::{Raw, encode, frame, fresh_key, hello, text};
use super::server::{Local, UNBOUND};

/// Revocations while somebody sends.
const ROUNDS: usize = 30;
/// Sends that are in flight.
const IN_FLIGHT: usize = 16;
/// What is sent by somebody who knows of the revocation.
const AFTER: &str = "after";

fn group(raw: &mut Raw, uids: &[&str]) -> u64 {
    let uids = uids.iter().map(|uid| (*uid).to_owned()).collect();
    let group = wire::CreateChannel { name: "g".to_owned(), uids, ..Default::default() };
    match raw.ask(Ask::CreateChannel(group)).0 {
        Said::Channel(info) => info.channel,
        other => panic!("expected a channel, heard {other:?}"),
    }
}

/// Sends as fast as acknowledgements come; says of each message whether the revocation was known.
fn flood(raw: &mut Raw, channel: u64, is_revoked: &AtomicBool, stop: &AtomicBool) {
    let mut waiting = 0;
    while !stop.load(Ordering::SeqCst) || waiting > 0 {
        while waiting < IN_FLIGHT && !stop.load(Ordering::SeqCst) {
            let body = if is_revoked.load(Ordering::SeqCst) { AFTER } else { "before" };
            raw.post(text(channel, body), fresh_key()).expect("a send goes out");
            waiting += 1;
        }
        match raw.next_frame().expect("acknowledgements and events").kind {
            Some(Said::Ack(_)) => waiting -= 1,
            Some(Said::Event(_) | Said::Ping(_)) => {}
            other => panic!("a sender heard {other:?}"),
        }
    }
}

/// The last seq of the channel, as a member reads it.
fn head(raw: &mut Raw, channel: u64) -> u64 {
    match raw.ask(Ask::ReadHistory(wire::ReadHistory { channel, ..Default::default() })).0 {
        Said::Page(page) => page.to,
        other => panic!("expected a page, heard {other:?}"),
    }
}

/// Everything that is said until the end: events of the channel, and why it ends.
fn to_the_end(raw: &mut Raw, channel: u64) -> (Vec<wire::Event>, Option<CloseCode>) {
    let mut frames = raw.rest();
    let why = match frames.pop().and_then(|frame| frame.kind) {
        Some(Said::Closing(closing)) => CloseCode::from_number(closing.code),
        other => panic!("Closing comes last, not {other:?}"),
    };
    let events = frames.into_iter().filter_map(|frame| match frame.kind {
        Some(Said::Event(event)) if event.channel == channel => Some(event),
        _ => None,
    });
    (events.collect(), why)
}

fn is_after(event: &wire::Event) -> bool {
    matches!(&event.content, Some(Content::Text(text)) if text == AFTER)
}

/// How a Hello ends; `None`: with Welcome, and the connection goes on.
fn greeted(string: &ConnectionString, device: &str) -> (Raw, Option<CloseCode>) {
    let mut raw = Raw::connect(string).expect("a connection");
    let mut flight = encode(&frame(Ask::Hello(hello(string, device))));
    flight.extend(encode(&frame(Ask::Resume(wire::Resume { last: true, ..Default::default() }))));
    raw.write(&flight).expect("the login flight");
    match raw.next().expect("an answer to Hello") {
        Said::Welcome(_) => (raw, None),
        Said::Closing(closing) => (raw, CloseCode::from_number(closing.code)),
        other => panic!("expected Welcome or Closing, heard {other:?}"),
    }
}

#[test]
fn nothing_reaches_a_session_whose_revocation_is_answered() {
    let server = Local::start(&UNBOUND);
    let (mut bob, _) = Raw::log_in(&server.string("bob"), "b", Default::default());
    let (mut carol, _) = Raw::log_in(&server.string("carol"), "c", Default::default());
    let mut heard_live = 0;
    for round in 0..ROUNDS {
        // Each person has another home; every other round one device of two goes.
        let (uid, whole) = (format!("alice-{round}"), round % 2 == 0);
        let string = server.string(&uid);
        let (mut phone, _) = Raw::log_in(&string, "phone", Default::default());
        let (mut tablet, _) = Raw::log_in(&string, "tablet", Default::default());
        let channel = group(&mut bob, &[&uid, "carol"]);
        let (is_revoked, stop) = (AtomicBool::new(false), AtomicBool::new(false));
        let (ended, highest) = thread::scope(|scope| {
            scope.spawn(|| flood(&mut bob, channel, &is_revoked, &stop));
            thread::sleep(Duration::from_millis(5 + round as u64 % 7));
            let device = (!whole).then_some("phone");
            let ended = server.revoke(&uid, device).expect("it is revoked");
            is_revoked.store(true, Ordering::SeqCst);
            let highest = head(&mut carol, channel);
            // She is not read meanwhile: what she may not have would wait for her.
            thread::sleep(Duration::from_millis(20));
            stop.store(true, Ordering::SeqCst);
            (ended, highest)
        });
        assert_eq!(ended, if whole { 2 } else { 1 }, "round {round}");
        let why = if whole { CloseCode::TokenInvalid } else { CloseCode::Kicked };
        let mut gone = vec![&mut phone];
        if whole {
            gone.push(&mut tablet);
        } else {
            bob.ask(text(channel, AFTER));
            while !is_after(&tablet.event()) {}
        }
        for raw in gone {
            let (events, closed) = to_the_end(raw, channel);
            assert_eq!(closed, Some(why), "round {round}");
            let above = events.iter().filter(|event| event.seq > highest || is_after(event));
            assert_eq!(above.count(), 0, "round {round}: something came after the answer");
            assert!(events.is_sorted_by(|one, next| one.seq + 1 == next.seq), "round {round}");
            heard_live += events.len();
        }
        let (_, refused) = greeted(&string.parse().expect("a string"), "phone");
        assert_eq!(refused, Some(why), "round {round}: nobody comes back with what is revoked");
        if whole {
            let fresh = server.string(&uid).parse().expect("a string");
            assert_eq!(greeted(&fresh, "phone").1, None, "round {round}: a new token is good");
        }
    }
    assert!(heard_live > ROUNDS, "they heard messages while they were revoked");
}

#[test]
fn whoever_comes_in_while_they_are_revoked_does_not_stay() {
    let server = Local::start(&UNBOUND);
    let (mut bob, _) = Raw::log_in(&server.string("bob"), "b", Default::default());
    let mut met = 0;
    for round in 0..ROUNDS {
        let uid = format!("alice-{round}");
        let string: ConnectionString = server.string(&uid).parse().expect("a string");
        let (whole, device) = (round % 2 == 0, format!("phone-{round}"));
        drop(greeted(&string, &device));
        let channel = group(&mut bob, &[&uid]);
        let stop = AtomicBool::new(false);
        let arrived = thread::scope(|scope| {
            let come = || {
                let mut arrived = Vec::new();
                while !stop.load(Ordering::SeqCst) && arrived.len() < 8 {
                    arrived.push(greeted(&string, &device));
                }
                arrived
            };
            let coming = [0; 2].map(|_| scope.spawn(come));
            thread::sleep(Duration::from_millis(2 + round as u64 % 9));
            server.revoke(&uid, (!whole).then_some(&*device)).expect("it is revoked");
            stop.store(true, Ordering::SeqCst);
            bob.ask(text(channel, AFTER));
            coming.map(|coming| coming.join().expect("somebody who comes")).into_iter().flatten()
        });
        let why = if whole { CloseCode::TokenInvalid } else { CloseCode::Kicked };
        for (mut raw, refused) in arrived {
            if let Some(refused) = refused {
                met += 1;
                assert_eq!(refused, why, "round {round}");
                continue;
            }
            let (events, closed) = to_the_end(&mut raw, channel);
            assert_eq!(closed, Some(why), "round {round}");
            assert!(!events.iter().any(is_after), "round {round}: they heard what came later");
        }
        assert_eq!(greeted(&string, &device).1, Some(why), "round {round}");
    }
    assert!(met > 0, "some of them came at that moment");
}

#[test]
fn what_is_revoked_stays_so_over_a_restart_and_strangers_are_not_made() {
    let mut server = Local::start(&UNBOUND);
    let old: ConnectionString = server.string("alice").parse().expect("a string");
    assert_eq!(greeted(&old, "phone").1, None);
    assert!(matches!(server.revoke("nobody", None), Err(RevokeError::NoPerson(_))));
    assert_eq!(server.revoke("alice", Some("never seen")).expect("revoked"), 0);
    server.revoke("alice", None).expect("revoked");
    server.restart(&["--shards", "2"]);
    let string = |token: &ConnectionString, server: &Local| {
        let mut now: ConnectionString = server.string("alice").parse().expect("a string");
        now.token.clone_from(&token.token);
        now
    };
    assert_eq!(greeted(&string(&old, &server), "phone").1, Some(CloseCode::TokenInvalid));
    let fresh: ConnectionString = server.string("alice").parse().expect("a string");
    assert_eq!(greeted(&fresh, "never seen").1, Some(CloseCode::Kicked));
    assert_eq!(greeted(&fresh, "phone").1, None);
}

/// Status and body of a request to the admin port.
fn post(server: &Process, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.admin()).expect("the admin port");
    let length = body.len();
    let request = format!(
        "POST /revoke HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("a request goes out");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

#[test]
fn an_operator_revokes_over_the_admin_port() {
    let server = Process::start(&["--shards", "2"]);
    let string = server.string("alice");
    let json = "Content-Type: application/json\r\n";
    for (headers, body, expected) in [
        ("", r#"{"user":"alice"}"#, 415),
        ("Content-Type: text/plain\r\n", r#"{"user":"alice"}"#, 415),
        (&*format!("{json}Origin: http://127.0.0.1:9464\r\n"), r#"{"user":"alice"}"#, 403),
        (json, "", 400),
        (json, r#"{"user":""}"#, 400),
        (json, r#"{"user":"alice","devise":"phone"}"#, 400),
        (json, r#"{"user":"alice","device":""}"#, 400),
        (json, &*format!(r#"{{"user":"{}"}}"#, "x".repeat(8_000)), 413),
        (json, r#"{"user":"nobody"}"#, 404),
    ] {
        let (status, said) = post(&server, headers, body);
        assert_eq!(status, expected, "{headers:?} {body:.40}: {said}");
    }
    let (mut phone, _) = Raw::log_in(&string, "phone", Default::default());
    let (mut tablet, _) = Raw::log_in(&string, "tablet", Default::default());
    let (status, said) = post(&server, json, r#"{"user":"alice","device":"phone"}"#);
    assert_eq!((status, &*said), (200, "{\"sessions\":1}\n"));
    assert_eq!(phone.closing(), Some(CloseCode::Kicked));
    tablet.fence().expect("the other device goes on");

    let ask = |arguments: &[&str]| {
        let output = binary(&server.data()).arg("revoke").args(arguments).output();
        let output = output.expect("the binary runs");
        let said = if output.status.success() { output.stdout } else { output.stderr };
        (output.status.success(), String::from_utf8(said).expect("text"))
    };
    let (done, said) = ask(&["--user", "alice", "--admin", server.admin()]);
    assert!(done && said.contains("sessions ended: 1"), "{said}");
    assert_eq!(tablet.closing(), Some(CloseCode::TokenInvalid));
    let (done, said) = ask(&["--user", "nobody", "--admin", server.admin()]);
    assert!(!done && said.contains("there is no person nobody"), "{said}");
    let (done, said) = ask(&["--user", "alice", "--admin", server.address()]);
    assert!(!done, "the chat port is no admin port: {said}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let nobody = free.local_addr().expect("its address").to_string();
    drop(free);
    let (done, said) = ask(&["--user", "alice", "--admin", &nobody]);
    assert!(!done && said.contains("no server answers") && said.contains("--admin"), "{said}");
    assert!(server.metric("damso_revocations_total") >= 2.0);
}
