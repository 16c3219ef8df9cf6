//! The tool as people run it, against the bare loop in a process of its own.

mod page;
mod peers;
mod sample;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use damso_proto::wire::{self, client_frame, server_frame};
use prost::Message as _;

fn loadtest(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_damso-loadtest"))
        .args(arguments)
        .env_remove("DAMSO_URL")
        .output()
        .expect("the binary starts")
}

/// A small run against the bare loop; `more` overrides.
fn bare_run(more: &[&str]) -> Output {
    // The machine that runs tests is busy, so lateness must not decide.
    let small =
        ["groups", "--with-bare", "--connections", "20", "--channels", "4", "--members", "5"];
    let rate = if more.contains(&"--rate") { &[][..] } else { &["--rate", "200"] };
    let brief = ["--seconds", "1", "--warmup", "0", "--drain", "2"];
    let patient = ["--late-ms-max", "60000"];
    loadtest(&[&small[..], rate, &brief, &patient, more].concat())
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn json(path: &Path) -> serde_json::Value {
    let bytes = std::fs::read(path).expect("a report was written");
    serde_json::from_slice(&bytes).expect("it is JSON")
}

#[test]
fn a_clean_run_reports_every_delivery_and_ends_with_0() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.json");
    let output = bare_run(&["--json", path.to_str().unwrap(), "--per-worker", "10"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let report = json(&path);
    let side = &report["sides"][0];
    assert_eq!(side["workers"], 2);
    let phase = &side["phases"][0];
    let sent = phase["sent"].as_u64().unwrap();
    assert!(sent > 100, "{phase}");
    assert_eq!(phase["delivered"].as_u64(), Some(5 * sent));
    assert_eq!(phase["last"]["count"].as_u64(), Some(sent));
    assert_eq!(side["verdict"]["passed"], true);
    assert!(phase["server_us_per_delivery"].as_f64().unwrap() > 0.0);
    let (last, each) = (&phase["last"]["p50"], &phase["response"]["p50"]);
    assert!(last.as_u64() >= each.as_u64(), "the last receiver is not before the median one");
}

#[test]
fn one_wrong_delivery_among_hundreds_ends_the_run_with_3_and_is_named() {
    let cases = [
        ("lose@300", "ReceiverHole"),
        ("repeat@300", "ReceiverRepeat"),
        ("swap@300", "ReceiverRepeat"),
        ("damage@300", "damaged payloads"),
    ];
    for (fault, named) in cases {
        let output = bare_run(&["--bare-fault", fault]);
        assert_eq!(output.status.code(), Some(3), "{fault}: {}", text(&output));
        assert!(text(&output).contains(named), "{fault}: {}", text(&output));
    }
}

#[test]
fn a_channels_first_and_last_delivery_are_missed_too() {
    let first = bare_run(&["--channels", "1", "--bare-fault", "lose@4"]);
    assert_eq!(first.status.code(), Some(3), "{}", text(&first));
    assert!(text(&first).contains("it began at 2"), "{}", text(&first));
    // One message only: no later one shows a hole.
    let one = ["--channels", "1", "--rate", "1", "--arrival", "constant", "--bare-fault", "lose@4"];
    let last = bare_run(&one);
    assert_eq!(last.status.code(), Some(3), "{}", text(&last));
    assert!(text(&last).contains("NotReached"), "{}", text(&last));
}

#[test]
fn a_late_harness_gives_no_verdict_about_speed() {
    let output = bare_run(&["--late-ms-max", "0", "--slo", "ack.p50<1us"]);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
}

#[test]
fn a_broken_objective_ends_with_2_and_a_kept_one_with_0() {
    let output = bare_run(&["--slo", "last.p50<1us"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let output = bare_run(&["--slo", "last.p50<600s"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn a_slow_server_is_seen_to_be_slow_and_nothing_else() {
    let cases = [("delay=20ms", "last.p50<20ms"), ("stall=400ms@200ms", "last.max<300ms")];
    for (fault, objective) in cases {
        let output = bare_run(&["--bare-fault", fault, "--slo", objective]);
        assert_eq!(output.status.code(), Some(2), "{fault}: {}", text(&output));
    }
}

#[test]
fn a_plain_yardstick_says_where_it_is_and_answers_in_the_clear() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_damso-loadtest"))
        .args(["bare", "--plain", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut line = String::new();
    let stdout = server.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("it prints where it is");
    let address = line.trim().strip_prefix("plain://").expect("it says that it is plain");
    let mut stream = TcpStream::connect(address).expect("it listens there");
    let ping = Some(client_frame::Kind::Ping(wire::Ping { id: 7 }));
    let asked = wire::ClientFrame { kind: ping, ..Default::default() };
    stream.write_all(&asked.encode_length_delimited_to_vec()).expect("it takes a frame");
    let pong = Some(server_frame::Kind::Pong(wire::Pong { id: 7, time_ms: 0 }));
    let said = wire::ServerFrame { kind: pong, ..Default::default() };
    let mut answer = vec![0; said.encode_length_delimited_to_vec().len()];
    let read = stream.read_exact(&mut answer);
    server.kill().and_then(|()| server.wait()).expect("it ends");
    read.expect("it answers");
    assert_eq!(answer, said.encode_length_delimited_to_vec());
}

#[test]
fn a_target_that_is_not_there_ends_with_6() {
    // A port that was free a moment ago: nothing listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key.der");
    let random = ring::rand::SystemRandom::new();
    let pkcs8 = ring::signature::Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    std::fs::write(&key, pkcs8).unwrap();
    let url = format!("damso://{free}?pin=sha256-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
    let output = loadtest(&["groups", "--url", &url, "--token-key", key.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
}

#[test]
fn wrong_options_end_with_1_and_say_what_is_right() {
    let cases: [(&[&str], &str); 7] = [
        (&["groups"], "--url"),
        (&["groups", "--with-bare", "--rate", "0"], "--rate"),
        (&["groups", "--with-bare", "--members", "9", "--connections", "5"], "--members"),
        (&["groups", "--with-bare", "--slo", "ack.p98<1ms"], "p99"),
        (&["groups", "--conections", "5"], "--connections"),
        (&["groups", "--with-bare", "--bare-fault", "loose@3"], "lose@N"),
        (&["bare", "--fault", "stall=1@4"], "stall=1s@4s"),
    ];
    for (arguments, hint) in cases {
        let output = loadtest(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(hint), "{arguments:?}: {}", text(&output));
    }
}
