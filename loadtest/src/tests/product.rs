//! Every shipped scenario in small against the real server over TLS, and what else is done with
//! one: filling, comparing, looking for its limit.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{PATIENT, figure, json, loadtest, text};

/// A scenario in small; the report.
pub(super) fn small(scenario: &str, more: &[&str]) -> serde_json::Value {
    checked(&[&["run", scenario, "--connections", "30", "--seconds", "2"], more].concat())
}

/// A run that ends well; the report.
pub(super) fn checked(run: &[&str]) -> serde_json::Value {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("report.json");
    let json_to = ["--warmup", "0", "--json", path.to_str().expect("our names are UTF-8")];
    let output = loadtest(&[run, &PATIENT, &json_to].concat());
    assert_eq!(output.status.code(), Some(0), "{run:?}: {}", text(&output));
    let report = json(&path);
    assert_eq!(report["sides"][0]["verdict"]["passed"], true);
    assert_eq!(report["outcome"], "ok");
    report
}

pub(super) fn phases(report: &serde_json::Value) -> &Vec<serde_json::Value> {
    report["sides"][0]["phases"].as_array().expect("phases are a list")
}

#[test]
fn idle_measures_what_a_connection_takes() {
    let report = small("idle", &["--channels", "30"]);
    let ramp = &report["sides"][0]["ramp"];
    let bytes = |at: usize| ramp["server"][at]["resident_bytes"].as_u64().unwrap();
    assert!(bytes(1) > bytes(0), "{ramp}");
    assert_eq!(ramp["login"]["count"], 30);
    // Nothing was sent, and everything that stands in history was read.
    assert_eq!(report["sides"][0]["verdict"]["channels_read"], 30);
}

#[test]
fn broadcast_reaches_everyone() {
    let report = small("broadcast", &["--rate", "5"]);
    let counts = &phases(&report)[0]["streams"][0]["counts"];
    assert_eq!(counts["delivered"].as_u64(), Some(30 * counts["sent"].as_u64().unwrap()));
}

#[test]
fn groups_run_once_per_rate_and_beside_the_bare_loop() {
    let report = small("groups", &["--channels", "3", "--rate", "50,100", "--with-bare"]);
    let names: Vec<&str> = phases(&report).iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["50/s", "100/s"]);
    let ratios = report["ratios"].as_array().unwrap();
    assert_eq!(ratios.len(), 2);
    assert!(ratios.iter().all(|ratio| ratio["ratio"].as_f64().unwrap() > 0.0), "{ratios:?}");
}

#[test]
fn a_crowd_beside_groups_is_measured_apart_from_them() {
    let small_crowd = ["--channels", "6", "--members", "5", "--rate", "60"];
    let report = small("crowd", &small_crowd);
    assert_eq!(phases(&report)[0]["streams"].as_array().unwrap().len(), 1);
    let announce = &phases(&report)[1]["streams"][1];
    assert_eq!(announce["name"], "announce");
    let counts = &announce["counts"];
    assert_eq!(counts["delivered"].as_u64(), Some(30 * counts["sent"].as_u64().unwrap()));
}

#[test]
fn direct_channels_have_two_who_hear() {
    let report = small("direct", &["--channels", "15", "--rate", "50"]);
    let counts = &phases(&report)[0]["streams"][0]["counts"];
    assert_eq!(counts["delivered"].as_u64(), Some(2 * counts["sent"].as_u64().unwrap()));
}

#[test]
fn many_channels_are_all_made_and_read_back() {
    let report = small("many-channels", &["--channels", "60", "--rate", "50"]);
    assert_eq!(report["sides"][0]["verdict"]["channels_read"], 60);
}

#[test]
fn a_storm_is_survived_without_a_gap() {
    let storm = "phase.storm.storm={ at_seconds = 0.5, share = 0.4, jitter_seconds = 0.5 }";
    let report = small("reconnect-storm", &["--channels", "6", "--rate", "60", "--set", storm]);
    let phase = &phases(&report)[1];
    assert_eq!(phase["resets"], 12);
    assert_eq!(phase["resume"]["count"], 12);
    let again: Vec<f64> = phase["live_again_seconds"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s.as_f64().unwrap())
        .collect();
    assert!(again.is_sorted() && again[0] > 0.0, "{again:?}");
    assert_eq!(phases(&report)[0]["resets"], 0);
}

#[test]
fn readers_that_stall_are_caught_up_with_in_the_end() {
    // 100 KB to each reader: more than a socket's buffers hold.
    let heavy = ["--channels", "3", "--rate", "100", "--set", "traffic.talk.payload_bytes=6000"];
    let report = small("slow-readers", &[&heavy[..], &["--set", "run.lead_seconds=0"]].concat());
    let stalled = &phases(&report)[1];
    assert_eq!(stalled["slow"], 3);
    let counts = &stalled["streams"][0]["counts"];
    let of = |name: &str| counts[name].as_u64().unwrap();
    assert!(of("delivered_slowly") > 0, "{counts}");
    assert_eq!(of("expected"), of("delivered") + of("caught_up"), "{counts}");
    // Whoever stalled has everything too: expected deliveries are those of the others.
    assert!(of("expected") < 10 * of("sent"), "{counts}");
}

#[test]
fn scrolling_reads_pages_while_others_write() {
    let report = small("history-scroll", &["--channels", "3", "--rate", "60"]);
    assert_eq!(phases(&report)[0]["streams"].as_array().unwrap().len(), 1);
    let scroll = &phases(&report)[1]["streams"][1];
    assert_eq!(scroll["op"], "history");
    assert!(scroll["counts"]["rows"].as_u64().unwrap() > 0, "{scroll}");
    assert!(figure(scroll, "page", "count") >= scroll["counts"]["acked"].as_u64().unwrap());
}

#[test]
fn a_mixed_day_loses_nothing_while_people_come_and_go() {
    let small_day = [
        "--channels",
        "6",
        "--set",
        "channels.halls.members=20",
        "--set",
        "channels.halls.count=1",
        "--set",
        "channels.pairs.count=10",
        "--set",
        "phase.day.churn_per_minute=20",
    ];
    let report = small("mixed", &small_day);
    let phase = &phases(&report)[0];
    assert_eq!(phase["streams"].as_array().unwrap().len(), 4);
    assert!(phase["resets"].as_u64().unwrap() > 0, "{phase}");
}

#[test]
fn several_workers_share_the_people_and_the_report_is_their_sum() {
    let report = small("groups", &["--channels", "6", "--per-worker", "10", "--members", "5"]);
    let side = &report["sides"][0];
    assert_eq!(side["workers"], 3);
    assert_eq!(side["ramp"]["login"]["count"], 30);
    let counts = &phases(&report)[0]["streams"][0]["counts"];
    assert_eq!(counts["delivered"].as_u64(), Some(5 * counts["sent"].as_u64().unwrap()));
}

#[test]
fn two_servers_stand_in_one_table_with_what_they_promise() {
    // The broker is in `peers.rs`; here the bare loop stands in for another server.
    let compare = ["compare", "shapes", "--peer", "bare", "--repeat", "2", "--connections", "30"];
    let small = ["--channels", "1", "--members", "20", "--rate", "20", "--seconds", "1"];
    let groups = ["--warmup", "0", "--set", "channels.groups.count=3"];
    let output = loadtest(&[&compare[..], &small, &groups, &PATIENT].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let text = text(&output);
    for part in ["1 x 1,000, announce", "1,000 x 10, talk", "x bare", "fdatasync", "nothing: epoll"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn a_store_is_filled_with_exactly_what_was_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let data = data.to_str().unwrap();
    let fill = ["fill", "--data", data, "--messages", "500", "--channels", "7"];
    let output = loadtest(&fill);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("500 messages in 7 channels"), "{}", text(&output));
    // The same directory again: it is a store that opens, and grows.
    let output = loadtest(&fill);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn a_search_finds_a_limit_or_says_whose_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.json");
    let search = ["saturate", "groups", "--bare", "--connections", "20", "--channels", "2"];
    let brief = ["--rate", "50", "--hold", "0.5", "--confirm", "0.5", "--max-load", "1.5"];
    let more = ["--slo", "ack.p99<60s", "--warmup", "0", "--json", path.to_str().unwrap()];
    let output = loadtest(&[&search[..], &brief, &PATIENT, &more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let found = &json(&path)["saturation"];
    assert_eq!(found["load"], 1.25, "{found}");
    assert_eq!(found["bound"], "the highest load that was tried");
    // Nothing can keep this one.
    let more = ["--slo", "ack.p99<1us", "--warmup", "0"];
    let output = loadtest(&[&search[..], &brief, &PATIENT, &more].concat());
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("no load held"), "{}", text(&output));
}

#[test]
fn a_server_that_is_stopped_is_seen_in_the_figures_and_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let tool = || Command::new(env!("CARGO_BIN_EXE_damso-loadtest"));
    let mut server = tool()
        .args(["serve", "--data", data.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
    let (json_path, key) = (directory.path().join("report.json"), data.join("token-key.pem"));
    let pid = server.id().to_string();
    // Behind it stands where its metrics are.
    let url = url.split_whitespace().next().unwrap();
    let target = ["run", "groups", "--url", url, "--token-key", key.to_str().unwrap()];
    let small = ["--connections", "20", "--channels", "4", "--members", "5", "--rate", "100"];
    let brief = ["--seconds", "5", "--warmup", "0", "--json", json_path.to_str().unwrap()];
    let mut run = tool()
        .args([&target[..], &["--pid", &pid], &small, &brief, &PATIENT].concat())
        .env_remove("DAMSO_URL")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut milestones = BufReader::new(run.stderr.take().unwrap()).lines();
    assert!(milestones.any(|line| line.unwrap().contains("steady, 5 s ...")));
    let signal = |name: &str| {
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    std::thread::sleep(Duration::from_secs(2));
    signal("-STOP");
    std::thread::sleep(Duration::from_secs(1));
    signal("-CONT");
    milestones.for_each(drop);
    let output = run.wait_with_output().unwrap();
    drop(server.stdin.take());
    server.wait().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let report = json(&json_path);
    let stream = &phases(&report)[0]["streams"][0];
    // A fifth of all messages waited, the longest of them for as long as the server stood still.
    assert!(figure(stream, "ack", "max") >= 900_000, "{}", text(&output));
    assert!(figure(stream, "last", "p999") >= 800_000, "{}", text(&output));
    let series = phases(&report)[0]["series"].as_array().unwrap();
    let seen = series.iter().filter(|s| s["ack"]["max"].as_u64().unwrap() >= 800_000).count();
    assert!((1..=2).contains(&seen), "in one second, or over the border of two: {seen}");
}

#[test]
fn a_starved_harness_ends_with_5_and_not_with_a_verdict_about_the_server() {
    // The run shares one core with a loop that takes all of it, and gives way to it.
    let busy = "while :; do :; done & loop=$!; trap 'kill $loop' EXIT; \
                nice -n 19 \"$0\" run groups --bare --connections 50 --channels 5 --rate 500 \
                --seconds 3 --warmup 0 --slo 'last.p99<1us'";
    let output = Command::new("taskset")
        .args(["-c", "0", "sh", "-c", busy, env!("CARGO_BIN_EXE_damso-loadtest")])
        .output()
        .expect("taskset is part of every Linux system");
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    assert!(text(&output).contains("VOID"), "{}", text(&output));
}
