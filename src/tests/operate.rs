//! What an operator has a running server say and do.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Output;
use std::time::Duration;

use damso_proto::code::CloseCode;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;

use super::process::{Process, binary};
use super::raw::{Raw, fresh_key, text};

/// A password for the admin port.
const TOKEN: &str = "a-password-that-is-long-enough-for-it";

fn run(server: &Process, arguments: &[&str]) -> Output {
    let mut command = binary(&server.data());
    command.args(["--admin", server.admin()]).args(arguments);
    command.output().expect("the binary runs")
}

/// What a command that succeeds prints.
fn said(server: &Process, arguments: &[&str]) -> String {
    let output = run(server, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Why a command fails.
fn failure(server: &Process, arguments: &[&str]) -> String {
    let output = run(server, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).expect("text")
}

fn log_in(server: &Process, uid: &str, device: &str) -> Raw {
    Raw::log_in(&server.string(uid), device, Default::default()).0
}

/// What the admin port answers to these lines; the status, and all of it.
fn answer(address: &str, lines: &[&str], body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("the admin port");
    let length = format!("Content-Length: {}", body.len());
    let head = [lines, &["Connection: close", &length, "", body]].concat().join("\r\n");
    stream.write_all(head.as_bytes()).expect("a request goes out");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    (status, answer)
}

/// How a connection ends. Everything before it is let go.
fn closing(raw: &mut Raw) -> wire::Closing {
    let closing = raw.rest().into_iter().find_map(|frame| match frame.kind {
        Some(Said::Closing(closing)) => Some(closing),
        _ => None,
    });
    closing.expect("it is told why it ends")
}

fn is_served(raw: &mut Raw) -> bool {
    matches!(raw.ask(Ask::ListChannels(wire::ListChannels::default())).0, Said::ChannelList(_))
}

fn names(list: &str) -> Vec<String> {
    let rows = list.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    rows.map(|row: serde_json::Value| row["connection"].as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn a_server_says_how_it_is_and_who_is_there() {
    let server = Process::start(&["--shards", "2"]);
    let mut people: Vec<Raw> =
        (0..7).map(|at| log_in(&server, &format!("person-{at}"), "phone")).collect();
    people.push(log_in(&server, "person-0", "tablet"));
    let status = said(&server, &["status"]);
    for seen in [": ready\n", "8 of ", "MiB", "certificate  good for", server.address()] {
        assert!(status.contains(seen), "{seen} is not in {status}");
    }
    let status: serde_json::Value =
        serde_json::from_str(&said(&server, &["status", "--json"])).expect("JSON");
    let shards = status["shards"].as_array().expect("shards");
    let of_all =
        |what| shards.iter().map(|shard| shard[what].as_u64().expect("a count")).sum::<u64>();
    assert_eq!((shards.len(), of_all("sessions"), of_all("people")), (2, 8, 7));

    let list = said(&server, &["connections"]);
    assert_eq!(list.lines().count(), 9, "{list}");
    assert!(list.contains("person-3") && list.contains("127.0.0.1") && list.contains("live"));
    let names: BTreeSet<_> =
        names(&said(&server, &["connections", "--json"])).into_iter().collect();
    assert_eq!(names.len(), 8);
    let mut paged = BTreeSet::new();
    let mut after = String::new();
    loop {
        let path = format!("GET /connections?max=3{after} HTTP/1.1");
        let (status, page) = answer(server.admin(), &[&path, "Host: localhost"], "");
        assert_eq!(status, "200", "{page}");
        let body = page.split_once("\r\n\r\n").expect("a body").1;
        let page: serde_json::Value = serde_json::from_str(body).expect("JSON");
        for row in page["connections"].as_array().expect("a list") {
            let name = row["connection"].as_str().expect("a name").to_owned();
            assert!(paged.insert(name), "twice: {row}");
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(paged, names);
    let few = said(&server, &["connections", "--max", "2"]);
    assert!(few.lines().count() == 4 && few.contains("... and more"), "{few}");
    let hers = said(&server, &["connections", "--user", "person-0"]);
    assert!(hers.contains("phone") && hers.contains("tablet") && !hers.contains("person-1"));
    assert!(failure(&server, &["connections", "--user", "nobody"]).contains("no person nobody"));
    drop(people);
    server.wait_until("everybody goes", |server| server.metric("damso_sessions") == 0.0);
    assert_eq!(said(&server, &["connections"]), "nobody is connected\n");
}

#[test]
fn whoever_is_kicked_may_come_back_and_others_notice_nothing() {
    let server = Process::start(&["--shards", "2"]);
    let mut bob = log_in(&server, "bob", "phone");
    let mut alice = ["phone", "tablet"].map(|device| log_in(&server, "alice", device));
    let one = ["kick", "--user", "alice", "--device", "tablet", "--after", "7"];
    assert_eq!(said(&server, &one), "connections ended: 1\n");
    let told = closing(&mut alice[1]);
    assert_eq!((told.code, told.retry_after_ms), (CloseCode::Disconnected.number(), 7_000));
    assert!(is_served(&mut alice[0]));
    assert_eq!(said(&server, &["kick", "--user", "alice"]), "connections ended: 1\n");
    assert_eq!(closing(&mut alice[0]).code, CloseCode::Disconnected.number());
    let mut again = log_in(&server, "alice", "tablet");
    assert!(is_served(&mut again), "she may come back");
    let hers = said(&server, &["connections", "--user", "alice", "--json"]);
    let name = &names(&hers)[0];
    assert_eq!(said(&server, &["kick", "--connection", name]), "connections ended: 1\n");
    assert_eq!(closing(&mut again).code, CloseCode::Disconnected.number());
    assert!(failure(&server, &["kick", "--connection", name]).contains("no connection"));
    assert!(failure(&server, &["kick", "--connection", "9-9-9"]).contains("no connection 9-9-9"));
    assert!(failure(&server, &["kick", "--connection", "x"]).contains("called like 0-12-3"));
    assert!(failure(&server, &["kick", "--user", "nobody"]).contains("no person nobody"));
    assert!(failure(&server, &["kick", "--user", "bob", "--after", "86400"]).contains("after_s"));
    assert!(is_served(&mut bob));
    assert_eq!(server.counted("damso_connections_closed_total", "disconnected"), 3.0);
}

#[test]
fn a_drain_answers_what_was_asked_and_says_when_to_come_back_and_where() {
    let server = Process::start(&["--shards", "2", "--alternate", "192.0.2.1:7443"]);
    let (mut alice, heard) = Raw::log_in(&server.string("alice"), "a", Default::default());
    let Some(Said::Welcome(welcome)) = heard.first() else { panic!("Welcome comes first") };
    assert_eq!(welcome.alternates, ["192.0.2.1:7443"]);
    let mut others: Vec<Raw> =
        (0..20).map(|at| log_in(&server, &format!("person-{at}"), "phone")).collect();
    let group = wire::CreateChannel { name: "g".to_owned(), ..Default::default() };
    let Said::Channel(group) = alice.ask(Ask::CreateChannel(group)).0 else { panic!("a group") };
    let asked: Vec<u64> = (0..20)
        .map(|at| alice.post(text(group.channel, &at.to_string()), fresh_key()).expect("a send"))
        .collect();
    // They are in the server's hands once the last of them is answered.
    let mut acked = BTreeSet::new();
    while acked.len() < asked.len() {
        let frame = alice.next_frame().expect("acknowledgements");
        acked.extend(matches!(frame.kind, Some(Said::Ack(_))).then_some(frame.id));
    }
    let to = ["--to", "192.0.2.7:7443", "--to", "192.0.2.8:7443"];
    let printed = said(&server, &[&["drain", "--within", "40"], &to[..]].concat());
    assert!(printed.contains("clients to tell: 21") && printed.contains("has ended"), "{printed}");
    let mut places = BTreeSet::new();
    let mut times = BTreeSet::new();
    for raw in others.iter_mut().chain([&mut alice]) {
        let told = closing(raw);
        assert_eq!(told.code, CloseCode::GoingAway.number());
        assert!(told.retry_after_ms <= 40_000);
        times.insert(told.retry_after_ms);
        places.insert(told.address);
    }
    assert_eq!(places.into_iter().collect::<Vec<_>>(), ["192.0.2.7:7443", "192.0.2.8:7443"]);
    assert!(times.len() > 10, "they do not come all at once: {times:?}");
    let (status, _, _) = server.wait();
    assert!(status.success(), "{status}");
}

#[test]
fn a_drain_that_makes_no_sense_is_refused_and_the_server_stays() {
    let server = Process::start(&["--shards", "1"]);
    for (arguments, why) in [
        (&["drain", "--to", "nowhere:port"][..], "HOST:PORT"),
        (&["drain", "--within", "4000"], "within_s"),
    ] {
        assert!(failure(&server, arguments).contains(why));
    }
    let host = "Host: localhost";
    for (lines, body, status) in [
        (
            &["POST /drain HTTP/1.1", host, "Content-Type: application/json"][..],
            "{\"all\":1}",
            "400",
        ),
        (&["POST /drain HTTP/1.1", host, "Content-Type: application/json"], "", "400"),
        (&["POST /drain HTTP/1.1", host, "Content-Type: text/plain"], "{}", "415"),
        (&["GET /drain HTTP/1.1", host], "", "405"),
    ] {
        assert_eq!(answer(server.admin(), lines, body).0, status, "{lines:?}");
    }
    assert!(said(&server, &["status"]).contains("ready"));
}

#[test]
fn elsewhere_than_on_loopback_the_admin_port_wants_its_password() {
    let place = tempfile::tempdir().expect("a directory");
    let file = place.path().join("admin-token");
    fs::write(&file, format!("{TOKEN}\n")).expect("a file");
    let with = ["--admin-token-file", file.to_str().expect("a path of text")];
    // What is given last counts: the port is bound on all addresses here.
    let server = Process::start(&[&["--set", "listen.admin=0.0.0.0:0"], &with[..]].concat());
    let mut alice = log_in(&server, "alice", "a");
    let port = server.admin();
    assert!(port.starts_with("0.0.0.0:"), "{port}");
    let right = format!("Authorization: Bearer {TOKEN}");
    let wrong = format!("Authorization: Bearer {TOKEN}x");
    for path in ["/", "/metrics", "/status", "/connections"] {
        let line = format!("GET {path} HTTP/1.1");
        assert_eq!(answer(port, &[&line, "Host: damso"], "").0, "401", "{path}");
        assert_eq!(answer(port, &[&line, "Host: damso", &wrong], "").0, "401", "{path}");
        assert_eq!(answer(port, &[&line, "Host: damso", &right], "").0, "200", "{path}");
    }
    for path in ["/healthz", "/readyz"] {
        let line = format!("GET {path} HTTP/1.1");
        assert_eq!(answer(port, &[&line, "Host: damso"], "").0, "200", "{path}");
    }
    for (path, body) in [("/drain", "{}"), ("/kick", "{\"user\":\"alice\"}")] {
        let line = format!("POST {path} HTTP/1.1");
        let json = "Content-Type: application/json";
        assert_eq!(answer(port, &[&line, "Host: damso", json, &wrong], body).0, "401", "{path}");
    }
    assert!(is_served(&mut alice));
    let near = format!("127.0.0.1:{}", port.rsplit(':').next().expect("a port"));
    let without = binary(&server.data()).args(["status", "--admin", &near]).output();
    let told = String::from_utf8(without.expect("the binary runs").stderr).expect("text");
    assert!(told.contains("--admin-token-file"), "{told}");
    assert!(said(&server, &[&["status"], &with[..]].concat()).contains("ready"));
    let (_, metrics) = answer(port, &["GET /metrics HTTP/1.1", "Host: damso", &right], "");
    assert!(metrics.contains("damso_admin_refused_total{reason=\"token\"} "), "{metrics}");
    assert!(!metrics.contains(TOKEN));
}

#[test]
fn a_page_that_an_operators_browser_shows_learns_and_does_nothing() {
    let server = Process::start(&["--shards", "1"]);
    let mut alice = log_in(&server, "alice", "a");
    let (port, json) = (server.admin(), "Content-Type: application/json");
    let (rebound, page) = ("Host: evil.example", "Origin: http://evil.example");
    for lines in [
        &["GET /connections HTTP/1.1", rebound][..],
        &["GET /status HTTP/1.1", rebound],
        &["GET /status HTTP/1.1", "Host: localhost", page],
        &["POST /kick HTTP/1.1", rebound, json],
        &["POST /kick HTTP/1.1", "Host: localhost", json, page],
    ] {
        let (status, told) = answer(port, lines, "{\"user\":\"alice\"}");
        assert!(status == "403" && !told.contains("alice"), "{lines:?}: {told}");
    }
    assert!(is_served(&mut alice));
    assert_eq!(server.counted("damso_admin_refused_total", "browser"), 5.0);
}

#[test]
fn strangers_who_hold_the_admin_port_keep_no_operator_out_for_long() {
    let server = Process::start(&["--shards", "1"]);
    let held: Vec<TcpStream> =
        (0..64).map(|_| TcpStream::connect(server.admin()).expect("a connection")).collect();
    let begun = std::time::Instant::now();
    let mut turned_away = TcpStream::connect(server.admin()).expect("a connection");
    turned_away.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    // It is closed at once, not held.
    assert_eq!(turned_away.read(&mut [0; 1]).expect("its end"), 0);
    assert!(begun.elapsed() < Duration::from_secs(20));
    drop(held);
    let mut tries = 0;
    while !run(&server, &["status"]).status.success() {
        tries += 1;
        assert!(tries < 100, "the places are given back");
    }
    assert!(server.counted("damso_web_turned_away_total", "admin") >= 1.0);
}
