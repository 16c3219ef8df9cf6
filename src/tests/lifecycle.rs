//! The binary from its start to its end: what it says, what it refuses, what it leaves.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use damso_proto::address::ConnectionString;
use damso_proto::code::CloseCode;
use damso_proto::id::RequestId;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;
use tempfile::TempDir;

use super::process::{Process, binary};
use super::raw::{Raw, fresh_key, text};

/// From SIGTERM to the end, at most.
const END_MAX: Duration = Duration::from_secs(25);

fn group(raw: &mut Raw, uids: &[&str]) -> u64 {
    let uids = uids.iter().map(|uid| (*uid).to_owned()).collect();
    match raw
        .ask(Ask::CreateChannel(wire::CreateChannel {
            name: "g".to_owned(),
            uids,
            ..Default::default()
        }))
        .0
    {
        Said::Channel(info) => info.channel,
        other => panic!("expected a channel, heard {other:?}"),
    }
}

/// How a start with these arguments fails, as the operator reads it.
fn failure(directory: &TempDir, arguments: &[&str]) -> String {
    let output =
        binary(&directory.path().join("data")).args(arguments).output().expect("the binary runs");
    assert!(!output.status.success(), "{arguments:?} must not serve");
    assert!(output.stdout.is_empty(), "nothing is promised before it serves");
    String::from_utf8(output.stderr).expect("text")
}

#[test]
fn a_taken_port_is_named_with_the_setting_that_changes_it() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = holder.local_addr().expect("its address").to_string();
    let settings =
        [("--listen", "DAMSO_LISTEN"), ("--admin", "DAMSO_ADMIN"), ("--api", "DAMSO_API")];
    for (setting, variable) in settings {
        let directory = TempDir::new().expect("a temporary directory");
        let arguments = settings
            .map(|(other, _)| [other, if other == setting { &*taken } else { "127.0.0.1:0" }]);
        let told = failure(&directory, arguments.as_flattened());
        for word in [&*taken, setting, variable] {
            assert!(told.contains(word), "{setting}: {word} is not in {told}");
        }
    }
}

#[test]
fn a_second_server_on_the_same_directory_is_refused_and_harms_nobody() {
    let server = Process::start(&["--shards", "1"]);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let channel = group(&mut alice, &[]);
    let second = binary(&server.data())
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--api", "127.0.0.1:0"])
        .output()
        .expect("the binary runs");
    assert!(!second.status.success());
    let told = String::from_utf8(second.stderr).expect("text");
    let data = server.data();
    assert!(told.contains(data.to_str().expect("a path of text")), "{told}");
    assert!(matches!(alice.ask(text(channel, "still here")).0, Said::Ack(_)));
}

#[test]
fn a_token_is_a_connection_string_for_one_person_on_one_directory() {
    let server = Process::start(&["--shards", "1"]);
    let string = server.string("민수");
    let parsed: ConnectionString = string.parse().expect("a connection string");
    assert_eq!(parsed.authority(), server.address());
    assert!(parsed.pin.is_some() && parsed.token.is_some());
    let (_, heard) = Raw::log_in(&string, "d", Default::default());
    assert!(matches!(&heard[0], Said::Welcome(welcome) if welcome.uid == "민수"));

    let token = |data: &std::path::Path, uid: &str| {
        binary(data).args(["token", "--user", uid]).output().expect("the binary runs")
    };
    let elsewhere = TempDir::new().expect("a temporary directory");
    let refused = token(&elsewhere.path().join("nothing"), "alice");
    assert!(!refused.status.success() && refused.stdout.is_empty());
    assert!(!elsewhere.path().join("nothing").exists(), "asking makes no data directory");
    for uid in ["", &"x".repeat(65)] {
        let refused = token(&server.data(), uid);
        assert!(!refused.status.success() && refused.stdout.is_empty(), "{uid:?}");
    }
}

#[test]
fn sigterm_tells_clients_when_to_come_back_and_loses_nothing() {
    let server = Process::start(&["--shards", "2"]);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let (mut bob, _) = Raw::log_in(&server.string("bob"), "b", Default::default());
    let (mut silent, _) = Raw::greet(&server.string("carol"), "c");
    let channel = group(&mut alice, &["bob"]);
    let mut posted = Vec::new();
    for number in 0..400 {
        posted.push(alice.post(text(channel, &format!("{number}")), fresh_key()).expect("a send"));
    }
    let mut closings = Vec::new();
    let mut acknowledged = Vec::new();
    // Some are through, most are not.
    while acknowledged.is_empty() {
        let frame = alice.next_frame().expect("an acknowledgement");
        if let Some(Said::Ack(ack)) = frame.kind {
            acknowledged.push((RequestId::new(frame.id), ack));
        }
    }
    server.terminate();
    let begun = Instant::now();
    for raw in [&mut alice, &mut bob, &mut silent] {
        for frame in raw.rest() {
            match frame.kind {
                Some(Said::Ack(ack)) => acknowledged.push((RequestId::new(frame.id), ack)),
                Some(Said::Closing(closing)) => closings.push(closing),
                _ => {}
            }
        }
    }
    let (status, said, directory) = server.wait();
    assert!(begun.elapsed() < END_MAX, "{:?}", begun.elapsed());
    assert!(status.success(), "{status}");
    assert!(said.contains("stopping"), "{said}");
    assert_eq!(closings.len(), 3, "each one is told, even who is not logged in whole");
    for closing in &closings {
        assert_eq!(CloseCode::from_number(closing.code), Some(CloseCode::GoingAway));
        assert!(closing.retry_after_ms > 0, "{closing:?}");
    }
    assert!(!acknowledged.is_empty());

    let server = Process::start_on(directory, "info", &["--shards", "1"]);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let mut stored = std::collections::BTreeMap::new();
    let mut after = 0;
    loop {
        let direction = wire::read_history::Direction::After.into();
        let ask = wire::ReadHistory { channel, seq: after, direction, rows: 0 };
        let pages = alice.pages(Ask::ReadHistory(ask));
        for row in pages.iter().flat_map(|page| &page.rows) {
            let event = row.event.as_ref().expect("an event");
            stored.insert(event.seq, event.id);
        }
        let last = pages.last().expect("a page");
        if last.to >= last.as_of || last.rows.is_empty() {
            break;
        }
        after = last.to;
    }
    for (request, ack) in &acknowledged {
        assert!(posted.contains(&request.get()));
        assert_eq!(stored.get(&ack.seq), Some(&ack.id), "{ack:?}");
    }
    println!("{} of {} sends were acknowledged before the end", acknowledged.len(), posted.len());
}

#[test]
fn the_admin_page_says_how_the_server_is() {
    let server = Process::start(&["--shards", "2"]);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let channel = group(&mut alice, &[]);
    alice.ask(text(channel, "x"));
    for (path, status, word) in [
        ("/healthz", "200", "ok"),
        ("/readyz", "200", "ready"),
        ("/", "200", "/metrics"),
        ("/nothing", "404", ""),
    ] {
        let (line, body) = server.page(path);
        assert!(line.contains(status) && body.contains(word), "{path}: {line}: {body}");
    }
    let (_, page) = server.page("/metrics");
    let names: std::collections::BTreeSet<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .filter(|name| name.starts_with("damso_"))
        .collect();
    println!("{} metrics of damso's own", names.len());
    assert!(names.len() >= 20, "{names:?}");
    assert_eq!(server.metric("damso_messages_acknowledged_total"), 1.0);
}

#[test]
fn a_server_whose_terminal_is_closed_serves_on_and_ends_well() {
    let directory = TempDir::new().expect("a temporary directory");
    let mut child = binary(&directory.path().join("data"))
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--shards", "1"])
        .env("DAMSO_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    // Nobody reads what it logs: each line fails from now on.
    drop(child.stderr.take());
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let strings = output.lines().map_while(Result::ok);
    let told = strings.filter_map(|line| line.split('\'').nth(1).map(str::to_owned)).take(2);
    let [alice, bob] = told.collect::<Vec<_>>().try_into().expect("two connection strings");
    let pid = rustix::process::Pid::from_child(&child);
    let signal = |signal| rustix::process::kill_process(pid, signal).expect("it is running");
    signal(rustix::process::Signal::HUP);
    for string in [alice, bob] {
        let (mut raw, _) = Raw::greet(&string, "d");
        raw.fence().expect("it is served");
    }
    signal(rustix::process::Signal::TERM);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn neither_token_nor_message_is_ever_logged_or_shown() {
    let directory = TempDir::new().expect("a temporary directory");
    let server = Process::start_on(directory, "trace", &["--shards", "2"]);
    // Not one of the two whose strings stand in the greeting on purpose.
    let string = server.string("zoe");
    let parsed: ConnectionString = string.parse().expect("a connection string");
    let token = parsed.token.as_ref().expect("a token").reveal().to_owned();
    let (mut zoe, _) = Raw::log_in(&string, "a", Default::default());
    let (mut bob, _) = Raw::log_in(&server.string("bob"), "b", Default::default());
    let channel = group(&mut zoe, &["bob"]);
    let canary = "a canary that nobody may read 8d1f";
    let key = fresh_key();
    assert!(matches!(zoe.ask_with(text(channel, canary), key).0, Said::Ack(_)));
    // Ways to make the server speak about a message: a key used twice, nonsense, a bad token.
    zoe.ask_with(text(channel, &format!("{canary} again")), key);
    let ask = wire::ReadHistory { channel, ..Default::default() };
    zoe.ask(Ask::ReadHistory(ask));
    let broken = [&[40, 0x0a, 38, 0x42, 0x7f][..], canary.as_bytes(), &[0; 8]].concat();
    zoe.write(&broken).expect("nonsense goes out");
    assert_eq!(zoe.closing(), Some(CloseCode::Malformed));
    // Another first letter of the signature: never the same token again.
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    let bad = string.replace(&token, &format!("{signed}.{other}{}", &signature[1..]));
    let bad: ConnectionString = bad.parse().expect("a connection string");
    let mut stranger = Raw::connect(&bad).expect("a connection");
    let hello = super::raw::hello(&bad, "s");
    stranger.write(&super::raw::encode(&super::raw::frame(Ask::Hello(hello)))).expect("Hello");
    assert_eq!(stranger.closing(), Some(CloseCode::TokenInvalid));
    bob.fence().expect("bob is still here");
    let (_, metrics) = server.page("/metrics");
    server.terminate();
    drop(bob.rest());
    let (_, said, directory) = server.wait();
    let log = std::fs::read_to_string(directory.path().join("log")).expect("a log");
    // The last part of a token is its signature: without it, the rest is worth nothing.
    let signature = token.rsplit('.').next().expect("three parts");
    assert!(log.len() > 10_000, "everything was logged that can be: {} bytes", log.len());
    for (place, text) in [("the log", &log), ("the output", &said), ("the metrics", &metrics)] {
        assert!(!text.contains("canary"), "a message stands in {place}");
        assert!(!text.contains(signature), "a token stands in {place}");
    }
}
