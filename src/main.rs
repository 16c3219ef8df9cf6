//! The server's binary: arguments, exit code.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use damso::server::{self, Asked, Cli, Command, ConfigCommand, Server, Signals};

/// Flush workers free what the committer allocated, a hundred thousand small pieces at a time; the
/// system's allocator sweeps them up within one of the committer's next allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("damso: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let environment = std::env::vars_os();
    match &cli.command {
        Some(Command::Token(arguments)) => {
            println!("{}", server::token(&cli.config(environment)?, arguments)?);
        }
        Some(Command::Key(command)) => {
            print(&server::keys(&cli.config(environment)?, command)?)?;
        }
        Some(Command::Config(ConfigCommand::Default)) => print(&server::annotated())?,
        Some(Command::Config(ConfigCommand::Show)) => {
            print(&server::effective(&cli.config(environment)?))?;
        }
        Some(Command::Config(ConfigCommand::Check { file, no_ports })) => {
            let told = server::check(&cli.flags, file.clone(), environment, !no_ports);
            print(&told.said)?;
            eprint!("{}", told.mistakes);
            return Ok(if told.mistakes.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            });
        }
        Some(Command::Doctor(arguments)) => {
            print(&server::doctor(&cli.config(environment)?, *arguments)?)?;
        }
        Some(Command::Status(arguments)) => {
            let (text, is_ready) = server::status(&cli.config(environment)?, arguments)?;
            print(&text)?;
            return Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Some(Command::Connections(arguments)) => {
            print(&server::connections(&cli.config(environment)?, arguments)?)?;
        }
        Some(Command::Kick(arguments)) => {
            print(&server::kick(&cli.config(environment)?, arguments)?)?;
        }
        Some(Command::Drain(arguments)) => {
            print(&server::drain(&cli.config(environment)?, arguments, tell)?)?;
        }
        Some(Command::Revoke(arguments)) => {
            print(&server::revoke(&cli.config(environment)?, arguments)?)?;
        }
        Some(Command::Serve) | None => {
            let config = cli.config(environment)?;
            server::log_to_stderr();
            let mut signals = Signals::watch()?;
            let server = Server::start(config)?;
            tell(&server.greeting());
            while signals.wait(&server) == Asked::Reload {
                server.reload();
            }
            tell("stopping: telling clients when to come back\n");
            server.stop();
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what a server that serves has to say. Its terminal may have been closed: no reason to leave
/// its clients without a word.
fn tell(text: &str) {
    drop(print(text));
}

/// To standard output, whose reader may have seen enough (`| head`).
fn print(text: &str) -> std::io::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}
