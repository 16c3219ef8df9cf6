//! `damso-loadtest`: latency from the intended send to the last receiver, with a verdict.

use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use damso_loadtest::bare::{BareError, Certificate, Fault, Server};
use damso_loadtest::engine::target::PLAIN;
use damso_loadtest::groups::{self, Options, Outcome};

/// Load harness of damso: an open loop, every receiver checked, the last one timed.
///
/// Exit code: 0 ok, 1 usage, 2 objective broken, 3 something lost, repeated or reordered,
/// 5 void (the harness itself was late), 6 target unreachable.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// C channels of M members, messages at a planned rate, everyone listening
    #[command(args_override_self = true)]
    Groups(Options),
    /// One channel that every connection is in
    #[command(args_override_self = true)]
    Broadcast(Options),
    /// The yardstick as a server of its own: epoll, rustls and a write, no product
    Bare(BareOptions),
    /// A worker process, led over standard input
    #[command(hide = true)]
    Worker,
}

#[derive(Args)]
struct BareOptions {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:7444")]
    listen: SocketAddr,
    /// Speak in the clear, without TLS
    #[arg(long)]
    plain: bool,
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
    let outcome = match cli.command {
        Command::Groups(options) => run(&options),
        Command::Broadcast(options) => {
            run(&Options { channels: 1, members: options.connections, ..options })
        }
        Command::Bare(options) => report_failure(bare(&options), Outcome::Usage),
        Command::Worker => report_failure(groups::work(), Outcome::Usage),
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
    damso_loadtest::host::raise_descriptor_limit();
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
    Ok(server.run()?)
}

fn run(options: &Options) -> Outcome {
    let report = match groups::run(options) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("damso-loadtest: {error}");
            return error.outcome();
        }
    };
    print!("{report}");
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&report).map_err(std::io::Error::from);
        if let Err(error) = json.and_then(|json| std::fs::write(path, json)) {
            eprintln!("damso-loadtest: --json {}: {error}", path.display());
            return Outcome::Usage;
        }
    }
    report.outcome
}
