//! What people said, and what lets them in, stands in no log, however much is logged.

use damso_proto::address::ConnectionString;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;
use damso_proto::{code::CloseCode, wire};

use super::process::Process;
use super::raw::{Raw, encode, frame, hello, text};

/// Words that stand nowhere else.
const SAID: &str = "canary-in-a-message";
const BAD_TOKEN: &str = "canary.in.a-token";

#[test]
fn neither_words_nor_tokens_are_logged() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Process::start_on(directory, "trace", &["--shards", "2"]);
    let string: ConnectionString = server.string("alice").parse().expect("a connection string");
    let token = hello(&string, "a").token;
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    // Words that are taken, words that are refused, a token that counts and one that does not.
    let open = wire::CreateChannel { name: "group".into(), ..Default::default() };
    let Said::Channel(group) = alice.ask(Ask::CreateChannel(open)).0 else { panic!("a group") };
    assert!(matches!(alice.ask(text(group.channel, SAID)).0, Said::Ack(_)));
    assert!(!alice.refusal(text(4_000_000, SAID)).text.contains(SAID), "nor is it said back");
    let mut stranger = Raw::connect(&string).expect("a connection");
    let forged = wire::Hello { token: BAD_TOKEN.into(), ..hello(&string, "a") };
    stranger.write(&encode(&frame(Ask::Hello(forged)))).expect("Hello");
    assert_eq!(stranger.closing(), Some(CloseCode::TokenInvalid));
    server.terminate();
    let (_, _, directory) = server.wait();
    let log = std::fs::read_to_string(directory.path().join("log")).expect("a log");
    assert!(log.contains("TRACE"), "all of it is logged: {log}");
    for secret in [SAID, &token, BAD_TOKEN] {
        assert!(!log.contains(secret), "{secret} stands in the log");
    }
}
