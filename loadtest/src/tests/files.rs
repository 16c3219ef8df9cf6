//! What a run writes.

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::{bare_run, figure, json, text};

#[test]
fn a_clean_run_reports_every_delivery_and_ends_with_0() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.json");
    let output = bare_run(&["--json", path.to_str().unwrap(), "--per-worker", "10"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let report = json(&path);
    let side = &report["sides"][0];
    assert_eq!((&report["version"], &report["scenario"]), (&2.into(), &"groups".into()));
    assert_eq!(side["workers"], 2);
    let phase = &side["phases"][0];
    let stream = &phase["streams"][0];
    let sent = stream["counts"]["sent"].as_u64().unwrap();
    assert!(sent > 100, "{stream}");
    assert_eq!(stream["counts"]["delivered"].as_u64(), Some(5 * sent));
    assert_eq!(stream["counts"]["complete"].as_u64(), Some(sent));
    assert_eq!(figure(stream, "last", "count"), sent);
    assert_eq!(side["verdict"]["passed"], true);
    assert!(phase["usage"]["server_us_per_delivery"].as_f64().unwrap() > 0.0);
    let (last, each) = (figure(stream, "last", "p50"), figure(stream, "response", "p50"));
    assert!(last >= each, "the last receiver is not before the median one");
    // The configuration that was run stands in the report, overrides included.
    assert_eq!(report["configuration"]["people"]["connections"], 20);
}

#[test]
fn the_log_of_seconds_sums_up_to_the_report_bit_for_bit() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (log, report) = (at("run.hlog"), at("run.json"));
    let more = ["--hlog", &log, "--json", &report, "--per-worker", "5", "--seconds", "3"];
    let output = bare_run(&more);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let report = json(report.as_ref());
    let stream = &report["sides"][0]["phases"][0]["streams"][0];
    let decode = |text: &str| -> Histogram<u64> {
        let bytes = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap()
    };
    let log = std::fs::read(&log).unwrap();
    for measured in stream["latencies"].as_array().unwrap() {
        let whole = decode(measured["histogram"].as_str().unwrap());
        let mut sum = Histogram::<u64>::new_with_bounds(1, whole.high(), 3).unwrap();
        let tag = format!("bare/steady/1/talk/{}", measured["measure"].as_str().unwrap());
        let mut seconds = 0;
        for entry in IntervalLogIterator::new(&log) {
            if let LogEntry::Interval(interval) = entry.unwrap()
                && interval.tag().is_some_and(|found| found.as_str() == tag)
            {
                sum.add(decode(interval.encoded_histogram())).unwrap();
                seconds += 1;
            }
        }
        assert!(seconds >= 3, "{tag}: {seconds}");
        assert_eq!(sum, whole, "{tag}");
    }
}

#[test]
fn csv_hgrm_and_page_are_written_where_they_were_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (csv, hgrm, html) = (at("seconds.csv"), at("hgrm"), at("page.html"));
    let output = bare_run(&["--csv", &csv, "--hgrm", &hgrm, "--html", &html, "--seconds", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let csv = std::fs::read_to_string(csv).unwrap();
    let columns = csv.lines().next().unwrap().split(',').count();
    let lines: Vec<&str> = csv.lines().skip(1).collect();
    assert!(lines.len() >= 2, "{csv}");
    assert!(lines.iter().all(|line| line.split(',').count() == columns), "{csv}");
    let sent: u64 =
        lines.iter().map(|l| l.split(',').nth(5).unwrap().parse::<u64>().unwrap()).sum();
    assert!(sent > 300, "{csv}");
    let last = std::fs::read_to_string(format!("{hgrm}/bare-steady-1-talk-last.hgrm")).unwrap();
    assert!(last.contains("#[Max") && last.contains("1.000000000000"), "{last}");
    assert!(std::fs::read_to_string(html).unwrap().contains("<html"));
}

#[test]
fn a_file_that_cannot_be_written_is_named() {
    let output = bare_run(&["--json", "/nowhere/report.json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("/nowhere/report.json"), "{}", text(&output));
}
