//! The server's binary: arguments, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use damso::server::{self, Cli, Command, Server, Signals};

/// Flush workers free what the committer allocated, a hundred thousand small pieces at a time; the
/// system's allocator sweeps them up within one of the committer's next allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("damso: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Box<dyn std::error::Error>> {
    cli.config.check()?;
    match cli.command {
        Some(Command::Token(arguments)) => {
            println!("{}", server::token(&cli.config, &arguments)?);
            Ok(())
        }
        Some(Command::Serve) | None => {
            server::log_to_stderr();
            let signals = Signals::watch()?;
            let server = Server::start(cli.config)?;
            print!("{}", server.greeting());
            signals.wait();
            println!("stopping: telling clients when to come back");
            server.stop();
            Ok(())
        }
    }
}
