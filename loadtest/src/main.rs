//! `damso-loadtest`: latency from the intended send to the last receiver, with a verdict.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use damso_loadtest::bare::{BareError, Certificate, Fault, Server};
use damso_loadtest::controller::{
    self, CompareOptions, FillOptions, Options, RunError, SaturateOptions,
};
use damso_loadtest::engine::target::PLAIN;
use damso_loadtest::report::files;
use damso_loadtest::report::model::{Outcome, Report};
use damso_loadtest::scenario;
use damso_loadtest::serve::{ServeOptions, serve};
use damso_loadtest::worker;

/// The product's own, since the server that a run starts lives in this binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Load harness of damso: an open loop, every receiver checked, the last one timed.
///
/// Without a target it starts a server of its own in a temporary directory.
///
/// Exit code: 0 ok, 1 usage, 2 objective broken, 3 something lost, repeated or reordered,
/// 5 void (the harness itself was late), 6 target unreachable.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 100,
    after_help = "Examples:\n  damso-loadtest run groups --html report.html\n  damso-loadtest run \
                  groups --connections 10000 --channels 1000 --rate 1000,4500 --with-bare\n  \
                  damso-loadtest run broadcast --url 'damso://...' --token-key token-key.pem\n  \
                  damso-loadtest saturate groups --slo 'ack.p99<50ms'\n  damso-loadtest compare \
                  groups --peer mosquitto\n  damso-loadtest fill --data /tmp/full --messages 1000000"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a scenario and report
    #[command(args_override_self = true)]
    Run(Options),
    /// Find the highest load that keeps the objectives
    #[command(args_override_self = true)]
    Saturate(SaturateOptions),
    /// Run a scenario against other servers, too, interleaved and repeated
    #[command(args_override_self = true)]
    Compare(CompareOptions),
    /// Make a store of N messages over C channels
    Fill(FillOptions),
    /// List the scenarios that come with the tool, or print one as TOML
    Scenarios {
        /// Which to print
        name: Option<String>,
    },
    /// Make a page of a report that was written as JSON
    Page {
        /// The report
        json: PathBuf,
        /// Where the page goes
        html: PathBuf,
    },
    /// The yardstick as a server of its own: epoll, rustls and a write, no product
    Bare(BareOptions),
    /// A worker process, led over standard input
    #[command(hide = true)]
    Worker,
    /// The product, until standard input ends
    #[command(hide = true)]
    Serve(ServeOptions),
}

#[derive(Args)]
struct BareOptions {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7444")]
    listen: SocketAddr,
    /// Speak in the clear, without TLS
    #[arg(long)]
    plain: bool,
    /// End when standard input does
    #[arg(long, hide = true)]
    until_input_ends: bool,
    /// Do wrong on purpose; may be given several times.
    ///
    /// `lose@N`, `repeat@N`, `swap@N`, `damage@N`: to delivery N, counted from 1, those to the
    /// sender itself not counted. A swapped one follows its receiver's next event of the same
    /// channel, and is never seen if there is none.
    /// `stall=1s@4s`: do nothing for 1 s, beginning 4 s after the first message was taken, or with
    /// `stall=1s@4s#1` after the first message of phase 1.
    /// `delay=5ms`: say everything that much later.
    #[arg(long = "fault", value_name = "FAULT")]
    faults: Vec<Fault>,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and clap's own code for usage is another one.
            let code = if error.use_stderr() { Outcome::Usage } else { Outcome::Ok };
            let _ = error.print();
            return ExitCode::from(code as u8);
        }
    };
    // Workers and the servers that a run starts inherit it.
    damso_loadtest::host::raise_descriptor_limit();
    let outcome = match cli.command {
        Command::Run(options) => report(controller::run(&options), &options),
        Command::Saturate(search) => report(controller::saturate(&search), &search.options),
        Command::Compare(several) => report(controller::compare(&several), &several.options),
        Command::Fill(options) => fill(&options),
        Command::Scenarios { name } => scenarios(name.as_deref()),
        Command::Page { json, html } => report_failure(page(&json, &html), Outcome::Usage),
        Command::Bare(options) => report_failure(bare(&options), Outcome::Usage),
        Command::Worker => report_failure(worker::work(), Outcome::Usage),
        Command::Serve(options) => report_failure(serve(&options), Outcome::Usage),
    };
    ExitCode::from(outcome as u8)
}

fn report_failure<E: std::fmt::Display>(result: Result<(), E>, otherwise: Outcome) -> Outcome {
    match result {
        Ok(()) => Outcome::Ok,
        Err(error) => {
            eprintln!("damso-loadtest: {error}");
            otherwise
        }
    }
}

fn bare(options: &BareOptions) -> Result<(), BareError> {
    let mut server = if options.plain {
        let server = Server::bind_plain(options.listen)?;
        println!("{PLAIN}{}", server.address()?);
        server
    } else {
        let certificate = Certificate::make()?;
        let server = Server::bind(options.listen, &certificate)?;
        println!("damso://{}?pin={}", server.address()?, certificate.pin);
        server
    };
    for fault in &options.faults {
        server.inject(*fault);
    }
    if options.until_input_ends {
        // The loop keeps nothing that would have to be put away.
        std::thread::spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            std::process::exit(0)
        });
    }
    Ok(server.run()?)
}

/// Prints the report and writes the files that were asked for.
fn report(result: Result<Report, RunError>, options: &Options) -> Outcome {
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            eprintln!("damso-loadtest: {error}");
            return error.outcome();
        }
    };
    print!("{report}");
    match write_files(&report, options) {
        Ok(()) => report.outcome,
        Err(error) => {
            eprintln!("damso-loadtest: {error}");
            Outcome::Usage
        }
    }
}

fn write_files(report: &Report, options: &Options) -> Result<(), String> {
    let at = |option: &str, path: &Path, result: std::io::Result<()>| {
        result.map_err(|error| format!("{option} {}: {error}", path.display()))
    };
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(report).map_err(std::io::Error::from);
        at("--json", path, json.and_then(|json| std::fs::write(path, json)))?;
    }
    if let Some(path) = &options.html {
        at("--html", path, std::fs::write(path, damso_loadtest::report::html::html(report)))?;
    }
    if let Some(path) = &options.csv {
        at("--csv", path, std::fs::write(path, files::csv(report)))?;
    }
    if let Some(path) = &options.hgrm {
        at("--hgrm", path, files::write_hgrm(report, path))?;
    }
    Ok(())
}

fn fill(options: &FillOptions) -> Outcome {
    match controller::fill(options) {
        Ok(text) => {
            println!("{text}");
            Outcome::Ok
        }
        Err(error) => {
            eprintln!("damso-loadtest: {error}");
            error.outcome()
        }
    }
}

fn scenarios(name: Option<&str>) -> Outcome {
    let Some(name) = name else {
        for (name, _) in scenario::SHIPPED {
            let about = scenario::read(name, &[]).map(|scenario| scenario.about);
            println!("{name:<18}{}", about.unwrap_or_default());
        }
        return Outcome::Ok;
    };
    match scenario::SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
        Some((_, text)) => {
            print!("{text}");
            Outcome::Ok
        }
        None => report_failure(scenario::read(name, &[]).map(|_| ()), Outcome::Usage),
    }
}

fn page(json: &Path, html: &Path) -> Result<(), String> {
    let text =
        std::fs::read_to_string(json).map_err(|error| format!("{}: {error}", json.display()))?;
    let report: Report = serde_json::from_str(&text)
        .map_err(|error| format!("{}: no report of this version: {error}", json.display()))?;
    std::fs::write(html, damso_loadtest::report::html::html(&report))
        .map_err(|error| format!("{}: {error}", html.display()))
}
