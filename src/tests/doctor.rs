//! The binary looks at this machine, and leaves nothing behind.

use std::fs;

use serde_json::Value;
use tempfile::TempDir;

use super::process::binary;

#[test]
fn a_machine_is_measured_and_judged_for_people_and_for_programs() {
    let place = TempDir::new().expect("a temporary directory");
    let run = |arguments: &[&str]| {
        let data = place.path().join("data");
        binary(&data).arg("doctor").args(arguments).output().expect("the binary runs")
    };
    let output = run(&["--host", "--json", "--connections", "7", "--shards", "1"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let figure = |path: &str| {
        let found = report.pointer(path).and_then(Value::as_f64);
        found.unwrap_or_else(|| panic!("no figure {path} in {report}"))
    };
    assert!(figure("/measured/host/cores") >= 1.0 && figure("/measured/disk/sync_p50_us") > 0.0);
    assert!(figure("/measured/clock/watched_ms") >= 1_000.0);
    let open = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    assert_eq!(figure("/measured/host/descriptors_soft"), open.current.unwrap_or(u64::MAX) as f64);
    assert_eq!(figure("/expected/connections"), 7.0, "the setting is the least");
    let alone = figure("/measured/disk/sync_p50_us") / 1e3;
    assert!(figure("/expected/ack_alone_ms") > alone, "an ack is later than the disk");
    assert!(report["assumed"].as_array().is_some_and(|lines| !lines.is_empty()));
    assert!(report["warnings"].is_array());

    let output = run(&["--host"]);
    let text = String::from_utf8(output.stdout).expect("text");
    println!("{text}");
    for word in ["fdatasync of 4 KiB", "connections at a time", "which assumes", "warnings"] {
        assert!(text.contains(word), "{word} is not in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 110), "{text}");
    assert_eq!(fs::read_dir(place.path()).expect("a directory").count(), 0, "nothing is left");
    assert_eq!(run(&[]).status.code(), Some(2), "it says what it can look at");
}
