//! The tool as people run it, in processes of its own: against the bare loop, against the product,
//! and against a broker.

mod faults;
mod files;
mod page;
mod peers;
mod product;
mod sample;
mod stress;
mod usage;
mod wire;

use std::path::Path;
use std::process::{Command, Output};

/// Runs the tool.
fn loadtest(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_damso-loadtest"))
        .args(arguments)
        .env_remove("DAMSO_URL")
        .output()
        .expect("the binary starts")
}

/// A small run of groups against the bare loop; `more` overrides.
fn bare_run(more: &[&str]) -> Output {
    let small = ["run", "groups", "--bare", "--connections", "20", "--channels", "4"];
    let brief = ["--members", "5", "--seconds", "1", "--warmup", "0"];
    // Several rates are several phases.
    let rate = if more.contains(&"--rate") { &[][..] } else { &["--rate", "200"] };
    loadtest(&[&small[..], &brief, rate, &PATIENT, more].concat())
}

/// The machine that runs tests is busy, so lateness must not decide.
const PATIENT: [&str; 4] = ["--drain", "5", "--late-ms-max", "60000"];

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
}

fn json(path: &Path) -> serde_json::Value {
    let bytes = std::fs::read(path).expect("a report was written");
    serde_json::from_slice(&bytes).expect("it is JSON")
}

/// One figure of a distribution, microseconds.
fn figure(stream: &serde_json::Value, measure: &str, quantile: &str) -> u64 {
    let latencies = stream["latencies"].as_array().expect("latencies are a list");
    let found = latencies.iter().find(|measured| measured["measure"] == measure);
    found.and_then(|measured| measured["summary"][quantile].as_u64()).unwrap_or_else(|| {
        panic!("no {measure}.{quantile} of {}", stream["name"]);
    })
}
