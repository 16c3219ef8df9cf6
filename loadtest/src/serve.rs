//! The server itself, in a process of its own, for runs that name no target.
//!
//! It is the library that this tool was built with, under the allocator of the product's binary:
//! what is measured is what `damso` of the same commit does.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Args, Parser as _};
use damso::server::{Asked, Cli, Server, Signals};
use rustix::process::{Signal, getpid, kill_process};

/// Rates that bind nobody; a person's is below their channel's, as a configuration must have it.
const UNBOUND: [&str; 6] = [
    "--sends-per-user",
    "999999/s burst 1000000",
    "--reads-per-user",
    "1000000/s burst 1000000",
    "--sends-per-channel",
    "1000000/s burst 1000000",
];

/// Options of the hidden command.
#[derive(Args, Clone, Debug)]
pub struct ServeOptions {
    /// Its data directory
    #[arg(long)]
    pub data: PathBuf,
    /// Remove the data directory when standard input ends
    #[arg(long)]
    pub throw_away: bool,
}

/// Serves on free loopback ports until standard input ends, or a signal asks for the end as `damso`
/// understands it. Prints its connection string first, and behind a space the address of its metrics
/// page.
///
/// # Errors
/// The server does not start.
pub fn serve(options: &ServeOptions) -> Result<(), Box<dyn std::error::Error>> {
    let data = options.data.display().to_string();
    // A configuration by command line, as anybody's is, so that defaults are those of the product.
    let mut arguments = vec![
        "damso",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--api",
        "127.0.0.1:0",
        "--data",
        &data,
    ];
    // What a product may do is measured, not what its people are allowed.
    arguments.extend(UNBOUND);
    let config = Cli::try_parse_from(arguments)?.config(std::env::vars_os())?;
    // As `damso` does: before anybody is told that there is a server to be stopped.
    let mut signals = Signals::watch()?;
    let server = Server::start(config)?;
    let string = server.connection_string("nobody", Duration::from_secs(1));
    let string = string.ok_or("tokens are issued elsewhere")?;
    let (address, _) = string.split_once("&token=").unwrap_or((&string, ""));
    println!("{address} http://{}/metrics", server.admin_address());
    io::stdout().flush()?;
    let deserted = Arc::new(AtomicBool::new(false));
    let seen = deserted.clone();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        // Seen by the other thread behind the signal.
        seen.store(true, Ordering::SeqCst);
        let _ = kill_process(getpid(), Signal::TERM);
    });
    while signals.wait(&server) == Asked::Reload {
        server.reload();
    }
    server.stop();
    if options.throw_away && deserted.load(Ordering::SeqCst) {
        std::fs::remove_dir_all(&options.data)?;
    }
    Ok(())
}
