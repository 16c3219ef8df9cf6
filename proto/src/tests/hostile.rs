//! `vectors/hostile.txt`: what each end makes of broken frames, and of frames from the future.

use damso_proto::client::{ClientConn, Heard};
use damso_proto::code::{Next, Retry};
use damso_proto::server::{Said, ServerConn, ServerOptions};
use damso_proto::time::Moment;
use damso_proto::wire;

use super::samples;
use super::vector_file::{Block, read, unhex};

const NOW: Moment = Moment::from_micros(1_000_000);

fn sample(name: &str) -> Vec<u8> {
    let client = samples::client().into_iter().map(|s| (s.name, s.bytes()));
    let server = samples::server().into_iter().map(|s| (s.name, s.bytes()));
    let found = client.chain(server).find(|(known, _)| *known == name);
    found.unwrap_or_else(|| panic!("no sample {name}")).1
}

/// A server's end in the state that a block asks for.
pub(crate) fn server_in(state: &str) -> ServerConn {
    let mut conn = ServerConn::new(ServerOptions::default(), NOW);
    let mut say = |name: &str| {
        let bytes = sample(name);
        let said = conn.next(&mut &bytes[..], NOW);
        assert!(matches!(said, Ok(Some(_))), "{name}: {said:?}");
        conn.accept(NOW);
    };
    match state {
        "greeting" => {}
        "resuming" => say("hello"),
        "open" => ["hello", "resume"].into_iter().for_each(&mut say),
        other => panic!("no state {other}"),
    }
    conn
}

fn client_in(state: &str) -> ClientConn {
    let mut conn = ClientConn::open(wire::Hello::default(), Vec::new(), NOW, &mut Vec::new());
    if state == "open" {
        for name in ["welcome", "resumed"] {
            let bytes = sample(name);
            let heard = conn.next(&mut &bytes[..], NOW);
            assert!(matches!(heard, Ok(Some(_))), "{name}: {heard:?}");
        }
    }
    conn
}

fn server_makes(block: &Block) -> String {
    let mut conn = server_in(&block["state"]);
    let bytes = unhex(&block["bytes"]);
    match conn.next(&mut &bytes[..], NOW) {
        Err(fault) => format!("close {}", fault.close_code()),
        Ok(Some(Said::Unknown(id))) => format!("refuse {id} unknown_request"),
        Ok(Some(Said::Request(request))) if request.key.is_none() => {
            format!("refuse {} key_missing", request.id)
        }
        Ok(Some(Said::Ping(id))) => format!("pong {id}"),
        Ok(Some(Said::KeepAlive)) => "ignore".into(),
        Ok(None) if conn.holds_input() => "wait".into(),
        Ok(None) => "ignore".into(),
        Ok(Some(other)) => format!("{other:?}"),
    }
}

fn client_makes(block: &Block) -> String {
    let mut conn = client_in(&block["state"]);
    let bytes = unhex(&block["bytes"]);
    let retry = |code| match Retry::of_number(code) {
        Retry::Never => "never",
        Retry::Later => "later",
        Retry::SameKey => "same_key",
        Retry::LogIn => "log_in",
        Retry::Upgrade => "upgrade",
    };
    let next = |code| match Next::of_number(code) {
        Next::ReconnectNow => "reconnect_now",
        Next::ReconnectLater => "reconnect_later",
        Next::ReconnectAt => "reconnect_at",
        Next::LogIn => "log_in",
        Next::Stop => "stop",
    };
    match conn.next(&mut &bytes[..], NOW) {
        Err(_) => "drop".into(),
        Ok(Some(Heard::Unknown(_))) => "ignore".into(),
        Ok(Some(Heard::Event(event))) => {
            event.decode().expect("a whole event");
            format!("event {} {}", event.channel, event.seq)
        }
        Ok(Some(Heard::Refused { refusal, .. })) => format!("retry {}", retry(refusal.code)),
        Ok(Some(Heard::Closing(closing))) => format!("next {}", next(closing.code)),
        other => format!("{other:?}"),
    }
}

#[test]
fn hostile_frames_end_as_the_vectors_say() {
    let blocks = read("hostile.txt");
    assert!(blocks.len() > 40, "{} are left", blocks.len());
    for block in blocks {
        let made = match &block["to"][..] {
            "server" => server_makes(&block),
            "client" => client_makes(&block),
            other => panic!("nobody is called {other}"),
        };
        assert_eq!(made, block["expect"], "{}", block["name"]);
    }
}

#[test]
fn after_a_fault_nothing_more_is_heard_and_nothing_is_kept() {
    for block in read("hostile.txt") {
        if block["to"] != "server" || !block["expect"].starts_with("close") {
            continue;
        }
        let mut conn = server_in(&block["state"]);
        let bytes = unhex(&block["bytes"]);
        assert!(conn.next(&mut &bytes[..], NOW).is_err());
        let more = sample("client-ping").repeat(1_000);
        let mut input = &more[..];
        assert!(matches!(conn.next(&mut input, NOW), Ok(None)), "{}", block["name"]);
        assert_eq!((input.len(), conn.held_bytes()), (0, 0), "{}", block["name"]);
        assert_eq!(conn.poll_timeout().micros(), u64::MAX, "nothing is waited for");
    }
}

/// What every kind of frame meets in every state: heard, or the connection ends.
#[test]
fn every_kind_of_frame_is_heard_in_the_states_where_it_may_stand() {
    for kind in samples::client() {
        let bytes = kind.bytes();
        for state in ["greeting", "resuming", "open"] {
            let allowed = match kind.name {
                "client-keep-alive" => true,
                "hello" | "hello-again" => state == "greeting",
                "client-ping" | "client-pong" => state != "greeting",
                name if name.starts_with("resume") => state == "resuming",
                _ => state == "open",
            };
            let mut conn = server_in(state);
            let said = conn.next(&mut &bytes[..], NOW);
            assert_eq!(said.is_ok(), allowed, "{} while {state}: {said:?}", kind.name);
        }
    }
}
