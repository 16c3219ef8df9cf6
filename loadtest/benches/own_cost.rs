//! What the harness itself costs: CPU per plain delivery, and memory per plain connection.
//!
//! ```text
//! cargo bench -p damso-loadtest --bench own_cost
//! ```
//!
//! One broadcast to 10,000 connections, twice a second, from the bare loop without TLS: nothing but
//! the engine, the client machine, the tally and the checker. The limits are those that the harness
//! promises in README; a figure above one ends the bench with an error. Run by `cargo test --benches`
//! it is a tenth of that size, and its figures decide nothing.

use std::process::{Command, ExitCode};

use damso_loadtest::report::verdict::spread;

/// CPU of the harness per delivery, microseconds, at most.
const CPU_US_MAX: f64 = 5.0;
/// Memory of the harness per 10,000 connections, bytes, at most.
const MEMORY_BYTES_MAX: f64 = 8e6;
/// Repetitions; the median counts, for the machine is shared.
const REPEATS: usize = 5;

fn main() -> ExitCode {
    let full = std::env::args().any(|argument| argument == "--bench");
    let (connections, seconds) = if full { ("10000", "5") } else { ("1000", "1") };
    let mut found = Vec::new();
    for _ in 0..if full { REPEATS } else { 1 } {
        match measure(connections, seconds) {
            Ok(figures) => found.push(figures),
            Err(why) => {
                eprintln!("own_cost: {why}");
                return ExitCode::FAILURE;
            }
        }
    }
    let median = |of: fn(&Figures) -> f64| {
        let all: Vec<f64> = found.iter().map(of).collect();
        spread(&all).map_or(f64::INFINITY, |(_, median, _)| median)
    };
    let (cpu, memory) = (median(|f| f.cpu_us), median(|f| f.memory_bytes));
    let steal = found.iter().map(|f| f.steal).fold(0.0, f64::max);
    println!("harness CPU per plain delivery    {cpu:.2} us (at most {CPU_US_MAX})");
    println!(
        "harness memory per 10,000 plain connections    {:.1} MB (at most {:.0})",
        memory / 1e6,
        MEMORY_BYTES_MAX / 1e6
    );
    println!("steal at most {:.1} %, median of {} runs", steal * 100.0, found.len());
    if full && (cpu > CPU_US_MAX || memory > MEMORY_BYTES_MAX) {
        eprintln!("own_cost: above a limit");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

struct Figures {
    cpu_us: f64,
    /// Per 10,000 connections.
    memory_bytes: f64,
    steal: f64,
}

fn measure(connections: &str, seconds: &str) -> Result<Figures, String> {
    let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
    let path = directory.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_damso-loadtest"))
        .args(["run", "broadcast", "--bare", "--plain", "--connections", connections])
        .args(["--rate", "2", "--seconds", seconds, "--warmup", "1", "--connect-rate", "5000"])
        // Whether it was late is beside the point here.
        .args(["--late-ms-max", "60000", "--json"])
        .arg(&path)
        .env_remove("DAMSO_URL")
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
    let report: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let side = &report["sides"][0];
    let number = |value: &serde_json::Value| value.as_f64().ok_or("the report lacks a figure");
    let own = &side["ramp"]["own_bytes"];
    let grown = number(&own[1])? - number(&own[0])?;
    let usage = &side["phases"][0]["usage"];
    Ok(Figures {
        cpu_us: number(&usage["own_us_per_delivery"])?,
        memory_bytes: grown / number(&side["ramp"]["connections"])? * 10_000.0,
        steal: number(&usage["steal"])?,
    })
}
