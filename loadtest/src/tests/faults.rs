//! Wrongs that the bare loop does on purpose, and what the run says of them.

use super::{bare_run, figure, json, text};

#[test]
fn one_wrong_delivery_among_hundreds_ends_the_run_with_3_and_is_named() {
    let cases = [
        ("lose@300", ["lost 1,", "lost: channel", "ReceiverHole"]),
        ("repeat@300", ["duplicated 1,", "duplicated: channel", "ReceiverRepeat"]),
        ("swap@300", ["reordered 1,", "reordered: channel", "ReceiverHole"]),
        ("damage@300", ["corrupted 1;", "corrupted: channel", "Diverged"]),
    ];
    for (fault, named) in cases {
        let output = bare_run(&["--bare-fault", fault]);
        assert_eq!(output.status.code(), Some(3), "{fault}: {}", text(&output));
        for name in named {
            assert!(text(&output).contains(name), "{fault}: {name}: {}", text(&output));
        }
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
fn what_is_wrong_stays_wrong_in_a_late_run() {
    let output = bare_run(&["--late-ms-max", "0", "--bare-fault", "lose@300"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
}

#[test]
fn a_broken_objective_ends_with_2_and_a_kept_one_with_0() {
    let output = bare_run(&["--slo", "last.p50<1us"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let output = bare_run(&["--slo", "talk.last.p50<600s"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn a_delay_is_measured_and_nothing_else_is_wrong() {
    let output = bare_run(&["--bare-fault", "delay=20ms", "--slo", "last.p50<20ms"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

#[test]
fn a_stall_is_charged_to_every_message_that_was_meant_to_leave_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.json");
    let stall = ["--bare-fault", "stall=500ms@2s", "--seconds", "5", "--arrival", "constant"];
    let five = ["--connections", "5", "--channels", "1", "--json", path.to_str().unwrap()];
    let output = bare_run(&[&stall[..], &five].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let report = json(&path);
    let phase = &report["sides"][0]["phases"][0];
    let stream = &phase["streams"][0];
    // A tenth of all messages falls into the stall and waits for 0-500 ms, so 1 % of all waits for
    // at least 450 ms.
    for measure in ["ack", "response", "last"] {
        let found = figure(stream, measure, "p99");
        assert!(found >= 427_500, "{measure}: {found} us");
    }
    // A closed loop of five people would have had five messages in it, which is half of 1 %.
    let naive = figure(stream, "naive", "p99");
    assert!(naive < 427_500, "{naive} us");
    // And it is seen when it was: in the seconds before and after there is none.
    let series = phase["series"].as_array().unwrap();
    let worst = |second: &serde_json::Value| second["last"]["max"].as_u64().unwrap();
    let slow: Vec<u64> =
        series.iter().filter(|s| worst(s) >= 427_500).map(|s| s["at"].as_u64().unwrap()).collect();
    assert_eq!(slow, [3]);
}

#[test]
fn a_server_that_goes_away_is_a_wrong_and_not_a_hang() {
    // A frame that is no frame closes the connection at the bare loop: damage to what the server
    // says is the client's to notice, so let the server lose patience instead: a tiny drain shows
    // that unanswered messages do not wait for ever.
    let more = ["--bare-fault", "stall=30s@300ms", "--drain", "1"];
    let output = bare_run(&more);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    assert!(text(&output).contains("never answered"), "{}", text(&output));
}
