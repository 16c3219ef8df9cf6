//! The HTML report as a browser shows it.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use damso_loadtest::figures::Summary;
use damso_loadtest::report::html::html;
use damso_loadtest::report::model::{Outcome, Report, StepVerdict};

use crate::sample;

const PATIENCE: Duration = Duration::from_secs(120);

/// A browser of the machine. A machine with Rust alone skips the tests of this file, audibly;
/// where every change is checked, they must run.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&path)
        .flat_map(|directory| names.map(|name| directory.join(name)))
        .find(|program| program.is_file());
    if found.is_none() {
        let ci = std::env::var("CI").is_ok_and(|value| value == "true");
        assert!(!ci, "the page is tested in a browser: apt-get install chromium");
        // Not `eprintln`: that is shown only when a test fails.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: no browser to look at the report with (apt-get install chromium)"
        );
    }
    found
}

/// The page of `report` after its scripts went through all choices. `None`: there is no browser.
fn rendered(report: &Report) -> Option<String> {
    let browser = chromium()?;
    let directory = tempfile::tempdir().expect("a directory");
    let page = directory.path().join("report.html");
    fs::write(&page, html(report)).expect("the page is written");
    let dom = directory.path().join("dom.html");
    browse(&browser, directory.path(), &format!("file://{}#check", page.display()), &dom);
    Some(fs::read_to_string(dom).expect("the browser wrote what it shows"))
}

fn browse(browser: &Path, profile: &Path, url: &str, dom: &Path) {
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--window-size=1200,900", "--virtual-time-budget=20000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.join("profile").display()))
        .arg(url)
        .stdin(Stdio::null())
        .stdout(File::create(dom).expect("a file for the page"))
        .stderr(Stdio::null())
        .spawn()
        .expect("the browser starts");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("it is our child").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("it is our child");
            panic!("the browser hangs");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Values of `attribute` in order.
fn values<'a>(dom: &'a str, attribute: &str) -> Vec<&'a str> {
    let opening = format!(" {attribute}=\"");
    dom.split(&opening).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

/// What a reader sees: the text between the tags, without the data and the scripts.
fn text(dom: &str) -> String {
    let (_, rest) = dom.split_once("<main>").expect("there is a page");
    let (shown, _) = rest.split_once("</main>").expect("it ends");
    let pieces = shown.split('<').map(|piece| piece.split_once('>').map_or("", |(_, text)| text));
    let text = pieces.collect::<Vec<_>>().join(" ");
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

fn assert_drawn(dom: &str, charts: usize) {
    assert_eq!(values(dom, "data-error"), [""; 0]);
    assert_eq!(values(dom, "data-checked"), [""], "the scripts did not come to their end");
    assert_eq!(values(dom, "data-drawn"), [charts.to_string()]);
    let pixels = values(dom, "data-pixels");
    assert_eq!(pixels.len(), charts, "one canvas for each chart");
    let drawn = |pixels: &&str| pixels.parse::<u32>().is_ok_and(|pixels| pixels > 100);
    assert!(pixels.iter().all(drawn), "{pixels:?}");
}

fn assert_shown(dom: &str, all: &[&str]) {
    let text = text(dom);
    for shown in all {
        assert!(text.contains(shown), "{shown} is not on the page:\n{text}");
    }
}

#[test]
fn a_comparison_is_drawn_with_all_its_figures() {
    let Some(dom) = rendered(&sample::report()) else { return };
    assert_drawn(&dom, 10);
    assert_shown(&dom, &["Compared", "medians of 2 repeats", "Ack p50", "Last receiver p99"]);
    assert_shown(&dom, &["CPU ratio", "RSS ratio", "1.71 ×", "nothing: epoll, TLS and a write"]);
    assert_shown(
        &dom,
        &["evening", "Passed", "last.p99<50ms", "12.4 ms", "2025-11-28 03:20", "10,000"],
    );
    assert_shown(&dom, &["damso", "bare", "calm", "evening peak", "reconnect storm", "scrolling"]);
    assert_shown(&dom, &["4,497 of 4,500 /s", "5,400,000 of 5,400,000", "100 %", "161 B"]);
    assert_shown(&dom, &["Last receiver", "Each receiver", "Ack", "Naive", "Harness lateness"]);
    assert_shown(&dom, &["13.3 KiB", "10,031", "1.31 ×", "1.27–1.36", "900,000 rows", "3,000"]);
    assert_shown(&dom, &["Storms", "resets outside of one are not in it", "3.4 s", "13 µs"]);
    assert_shown(&dom, &["durable before the ack", "AMD EPYC 7B13", "32.0 GiB", "\"poisson\""]);
    assert!(dom.contains("Every objective was kept.</p></div>"), "nothing follows it");
}

#[test]
fn names_that_look_like_markup_are_text() {
    let Some(dom) = rendered(&sample::broken()) else { return };
    // The ack, the last receiver, traffic, deliveries, connections, CPU, lateness, steal, curves;
    // nobody watched the server's memory in this phase.
    assert_drawn(&dom, 9);
    assert_shown(&dom, &["<script>throw new Error('out')</script>\"'&<b>: 2 deliveries lost"]);
    assert_shown(&dom, &["Incorrect", "ReceiverHole", "4,711", "17 with code 429", "12 min 34 s"]);
    assert_shown(&dom, &["Not measured.", "✕ broken", "✓ kept"]);
}

#[test]
fn each_latency_of_each_stream_is_on_the_page() {
    let report = sample::broken();
    let Some(dom) = rendered(&report) else { return };
    let measured = report.sides[0].phases[0].streams.iter().flat_map(|stream| &stream.latencies);
    for Summary { p50, p99, p999, max, .. } in measured.map(|measured| measured.summary) {
        let shown = [p50, p99, p999, max].map(time);
        assert_shown(&dom, &shown.each_ref().map(String::as_str));
    }
}

/// Microseconds as people read them: about three digits, rounded as decimals are.
fn time(us: u64) -> String {
    let rounded = |unit: u64| (us + unit / 2) / unit;
    let (tens, hundreds, thousands) = (rounded(10), rounded(100), rounded(1_000));
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{}.{:02} ms", tens / 100, tens % 100),
        10_000..100_000 => format!("{}.{} ms", hundreds / 10, hundreds % 10),
        100_000..1_000_000 => format!("{thousands} ms"),
        _ => format!("{}.{:02} s", rounded(10_000) / 100, rounded(10_000) % 100),
    }
}

#[test]
fn a_run_without_targets_says_so_instead_of_being_empty() {
    let Some(dom) = rendered(&sample::empty()) else { return };
    assert_drawn(&dom, 0);
    assert_shown(&dom, &["Unreachable", "connection refused", "No phase was run."]);
    assert_shown(&dom, &["Nothing was measured here.", "No seconds were recorded."]);
}

#[test]
fn phases_without_streams_and_streams_without_samples_are_shown_too() {
    let mut report = sample::report();
    report.sides.truncate(1);
    let phases = &mut report.sides[0].phases;
    phases[0].streams.clear();
    phases[0].series.clear();
    phases[1].streams[0].latencies.clear();
    phases[1].series.truncate(1);
    phases.truncate(2);
    report.sides[0].ramp.server = [None; 4];
    let Some(dom) = rendered(&report) else { return };
    // The check ends at the first phase, of which nothing is known.
    assert_drawn(&dom, 0);
    assert_shown(&dom, &["calm", "evening peak", "No seconds were recorded.", "–"]);
}

#[test]
fn a_search_leads_with_the_load_that_held() {
    let report = sample::saturation();
    let Some(dom) = rendered(&report) else { return };
    // The knee and what was answered, beside the curves and the nine panels.
    assert_drawn(&dom, 12);
    assert_shown(&dom, &["3,508 messages/s held", ", bound by the target", "9 of 13 tries held."]);
    assert_shown(&dom, &["3,510 /s asked for, 3.51 × the scenario’s rates."]);
    assert_shown(&dom, &["● held", "✕ broke", "○ harness-bound", "a worker was busy for 91 %"]);
    assert_shown(&dom, &["All figures of each load", "load 3.51, repeat 2"]);
    for step in &report.saturation.unwrap().steps {
        let shown = [step.ack_p99, step.last_p99, step.lateness_p99].map(time);
        assert_shown(&dom, &shown.each_ref().map(String::as_str));
        assert_shown(&dom, &[&step.why]);
    }
    let text = text(&dom);
    let [limit, sections] = ["messages/s held", "Key figures"].map(|words| text.find(words));
    assert!(limit < sections, "it leads");
}

#[test]
fn a_search_in_which_nothing_held_has_no_figures_to_boast_of() {
    let mut report = sample::saturation();
    report.outcome = Outcome::Slo;
    let found = report.saturation.as_mut().unwrap();
    found.load = None;
    found.bound = "harness-bound: the harness was late, the target may carry more".into();
    let tried = found.steps.iter().map(|step| step.verdict != StepVerdict::Held);
    let mut kept = tried.collect::<Vec<_>>().into_iter();
    report.sides[0].phases.retain(|_| kept.next() == Some(true));
    found.steps.retain(|step| step.verdict != StepVerdict::Held);
    let Some(dom) = rendered(&report) else { return };
    assert_drawn(&dom, 12);
    assert_shown(&dom, &["No load held", ", bound by the harness: it was late"]);
    assert_shown(&dom, &["0 of 4 tries held."]);
    assert!(!text(&dom).contains("RSS per connection"), "tiles are about the load that held");
}

#[test]
fn samples_are_kept_to_look_at() {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (name, report) in [("compared", sample::report()), ("saturation", sample::saturation())] {
        let path = kept.join(format!("page-{name}.html"));
        fs::write(&path, html(&report)).unwrap();
        let _ = writeln!(std::io::stderr(), "look at file://{}", path.display());
    }
}
