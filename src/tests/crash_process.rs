//! A server in a process of its own, to be killed and started again on the same directory.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::Parser as _;
use damso::server::{Cli, Config, KeyCommand, TokenArgs};

use super::backend::Backend;
use super::server::UNBOUND;

/// What a process of its own needs to be started again and again: a directory and a fixed port.
pub(crate) struct Installation {
    data: PathBuf,
    log: PathBuf,
    port: u16,
    api: u16,
    environment: Vec<(&'static str, &'static str)>,
}

/// A server in a process of its own. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
}

/// A server that has not said by then that it listens, is broken.
const START_MAX: Duration = Duration::from_secs(60);
/// Below the range that outgoing connections take their ports from, so that no client that
/// comes back early can sit on the server's port.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Lines of its log that are shown of a server that does not start.
const LOG_LINES: usize = 30;

impl Installation {
    /// Keeps its data in `data` and its log in `log`, which outlives the data.
    pub(crate) fn new(data: PathBuf, log: PathBuf) -> Self {
        let (port, mut api) = (free_port(), free_port());
        while api == port {
            api = free_port();
        }
        Self { data, log, port, api, environment: Vec::new() }
    }

    /// Sets a variable of the environment for every start.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.environment.push((name, value));
        self
    }

    /// Starts the server; it serves when this returns.
    pub(crate) fn start(&self) -> Process {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_damso"));
        let listen = format!("127.0.0.1:{}", self.port);
        command
            .args(UNBOUND)
            .args(["--admin", "127.0.0.1:0", "--api", &self.api()])
            .args(["--listen", &listen, "--data"]);
        command.arg(&self.data).env("DAMSO_LOG", "warn").envs(self.environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("the server's binary runs");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe was asked for"));
        let process = Process { child };
        let (said, says) = mpsc::channel();
        // Reads to the end, so that the server never waits for a reader of what it prints.
        thread::spawn(move || {
            for line in stdout.lines().map_while(io::Result::ok) {
                if line.starts_with("listening on ") {
                    // Whoever gave up waiting has shown the log already.
                    let _ = said.send(());
                }
            }
        });
        if says.recv_timeout(START_MAX).is_err() {
            panic!("the server does not start; its log ends with\n{}", self.log_end());
        }
        process
    }

    /// The connection string of a person, once there was a start.
    pub(crate) fn string(&self, uid: &str) -> String {
        let token = TokenArgs { user: uid.to_owned(), hours: 1 };
        damso::server::token(&self.config(), &token).expect("a server has started here")
    }

    /// A backend with a key for everything, once there was a start.
    pub(crate) fn backend(&self) -> Backend {
        let create = KeyCommand::Create { name: "shop".to_owned(), scope: vec!["all".to_owned()] };
        let key = damso::server::keys(&self.config(), &create).expect("a key");
        Backend::at(&self.api(), &self.data, key.trim())
    }

    fn api(&self) -> String {
        format!("127.0.0.1:{}", self.api)
    }

    fn config(&self) -> Config {
        let listen = format!("127.0.0.1:{}", self.port);
        let arguments = ["damso", "--listen", &listen, "--data"].map(std::ffi::OsString::from);
        let arguments = arguments.into_iter().chain([self.data.clone().into_os_string()]);
        let cli = Cli::try_parse_from(arguments).expect("good arguments");
        cli.config([]).expect("a good configuration")
    }

    /// The last lines of all that servers here logged.
    pub(crate) fn log_end(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }
}

impl Process {
    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL; it is gone when this returns.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // An error means that it ended by itself, which its clients noticed.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn free_port() -> u16 {
    let span = u64::from(PORTS.end - PORTS.start);
    for _ in 0..1_000 {
        let key = super::raw::fresh_key();
        let random =
            key.as_bytes()[8..].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let port = PORTS.start + u16::try_from(random % span).expect("a port of the range");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port in {PORTS:?}");
}
