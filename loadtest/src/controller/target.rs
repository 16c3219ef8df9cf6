//! What a run goes against: a server that is there, or one that is started for it.

use std::ffi::OsString;
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::watch::Watch;
use crate::driver::mqtt::Qos;
use crate::engine::target::Target;
use crate::peers::{Mosquitto, PeerError};
use crate::worker::order::Aim;

/// What damso promises, as far as this tool looks.
const DAMSO: &str = "every message is on disk (fdatasync) before its ack; order, ids and history \
                     per channel; resume without gaps";
/// Source addresses of one side, before those of the next.
const WORKERS_APART: u32 = 40;
/// Listen queues are longer than this; more connections under way at once measure nothing else.
const BACKLOG: usize = 256;
/// mosquitto's is 100 long, and no setting changes it.
const MOSQUITTO_BACKLOG: usize = 96;
/// What the bare loop promises.
const BARE: &str = "nothing: epoll, TLS and a write per delivery, from memory";

/// A target, and the process behind it if it was started here.
pub(super) struct Opponent {
    pub(super) name: String,
    pub(super) guarantees: String,
    pub(super) aim: Aim,
    pub(super) address: SocketAddr,
    pub(super) watch: Watch,
    /// Its metrics page.
    pub(super) page: Option<Watch>,
    /// Connections that its listen queue holds without dropping one.
    pub(super) backlog: usize,
    server: Server,
}

/// What is behind a target.
#[allow(dead_code, reason = "some are held so that they end when the run does")]
enum Server {
    /// Somebody else's.
    Elsewhere,
    /// This program, in a process of its own.
    Own(Started),
    /// The product, in a process of its own, that can be started again on its data.
    Damso { started: Started, arguments: Vec<OsString>, data: PathBuf },
    /// A broker.
    Mosquitto(Mosquitto),
}

/// A server that ends with the run, however the run ends: when its input does.
struct Started {
    child: Child,
}

impl Drop for Started {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Why there is no target.
#[derive(thiserror::Error, Debug)]
pub enum TargetlessError {
    /// A server could not be started.
    #[error("{name} did not start: {what}")]
    Start {
        /// Which.
        name: &'static str,
        /// Why.
        what: String,
    },
    /// A peer could not be started.
    #[error("{0}")]
    Peer(#[from] PeerError),
    /// The address is no good.
    #[error("{0}")]
    Address(#[from] crate::engine::target::TargetError),
    /// The system refuses.
    #[error("{0}")]
    System(#[from] io::Error),
}

impl Opponent {
    /// A server that is there.
    pub(super) fn there(
        url: &str,
        token_key: PathBuf,
        watch: Watch,
    ) -> Result<Self, TargetlessError> {
        let address = Target::parse(url)?.address;
        let aim = Aim::Damso { url: url.into(), token_key: Some(token_key) };
        Ok(Self {
            name: "damso".into(),
            guarantees: DAMSO.into(),
            aim,
            address,
            watch,
            page: None,
            backlog: BACKLOG,
            server: Server::Elsewhere,
        })
    }

    /// The server that this tool was built with, on `data`, or on a directory that is gone
    /// afterwards.
    pub(super) fn damso(data: Option<&Path>) -> Result<Self, TargetlessError> {
        let mut arguments = vec!["serve".into(), "--data".into()];
        let data = match data {
            Some(data) => data.to_owned(),
            None => {
                arguments.insert(1, "--throw-away".into());
                // The server removes it, since it outlives a run that is interrupted.
                tempfile::Builder::new().prefix("damso-loadtest-").tempdir()?.keep()
            }
        };
        arguments.push(data.clone().into_os_string());
        Self::started(arguments, data)
    }

    /// The product, on a directory that is there or not.
    fn started(arguments: Vec<OsString>, data: PathBuf) -> Result<Self, TargetlessError> {
        let (started, said) = start("damso", &arguments)?;
        let (url, page) = said.split_once(' ').unwrap_or((&said, ""));
        let watch = Watch::Process(started.child.id());
        let there = Self::there(url, data.join("token-key.pem"), watch)?;
        let page = Watch::page(page).ok();
        Ok(Self { server: Server::Damso { started, arguments, data }, page, ..there })
    }

    /// The process of a server that can be started again.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.server {
            Server::Damso { started, .. } => Some(started.child.id()),
            Server::Elsewhere | Server::Own(_) | Server::Mosquitto(_) => None,
        }
    }

    /// The address of a server of damso's protocol.
    pub(super) fn url(&self) -> &str {
        match &self.aim {
            Aim::Damso { url, .. } => url,
            Aim::Mqtt { .. } => "",
        }
    }

    /// Takes the exit code of a server that was asked to end, which is killed if it still runs, and
    /// starts it again on its data.
    pub(super) fn start_again(&mut self) -> Result<Option<i32>, TargetlessError> {
        let Server::Damso { started, arguments, data } = &mut self.server else { return Ok(None) };
        // One that has ended cannot be killed any more, and nothing else has its number yet.
        let _ = started.child.kill();
        let code = started.child.wait()?.code();
        *self = Self::started(arguments.clone(), data.clone())?;
        Ok(code)
    }

    /// The bare loop.
    pub(super) fn bare(faults: &[String], plain: bool) -> Result<Self, TargetlessError> {
        let listen = ["bare", "--until-input-ends", "--listen", "127.0.0.1:0"];
        let mut arguments: Vec<OsString> = listen.map(OsString::from).to_vec();
        for fault in faults {
            arguments.extend(["--fault".into(), fault.into()]);
        }
        if plain {
            arguments.push("--plain".into());
        }
        let (started, url) = start("bare", &arguments)?;
        let watch = Watch::Process(started.child.id());
        let address = Target::parse(&url)?.address;
        let (name, guarantees) = ("bare".into(), BARE.into());
        let aim = Aim::Damso { url, token_key: None };
        let (backlog, server) = (BACKLOG, Server::Own(started));
        Ok(Self { name, guarantees, aim, address, watch, page: None, backlog, server })
    }

    /// mosquitto, with messages of quality of service `qos`.
    pub(super) fn mosquitto(qos: u8) -> Result<Self, TargetlessError> {
        let server = Mosquitto::start()?;
        let (name, level) = match qos {
            0 => ("mosquitto QoS 0", Qos::AtMostOnce),
            _ => ("mosquitto QoS 1", Qos::AtLeastOnce),
        };
        Ok(Self {
            name: name.into(),
            guarantees: format!("{}: {}", server.version(), Mosquitto::guarantees(level)),
            aim: Aim::Mqtt { address: server.address(), ca: server.ca_pem().into(), qos },
            address: server.address(),
            watch: Watch::Process(server.pid()),
            page: None,
            backlog: MOSQUITTO_BACKLOG,
            server: Server::Mosquitto(server),
        })
    }

    /// The address that a worker connects from: one of its own, since each has ports for some
    /// 28,000 connections only, whomever they go to; and another one in each run, which then finds
    /// no port that the last one left closing. `None`: the target is not on a loopback address, so
    /// there is one source only.
    pub(super) fn source(&self, run: u64, side: u32, worker: u32) -> Option<IpAddr> {
        let IpAddr::V4(address) = self.address.ip() else { return None };
        address.is_loopback().then(|| {
            let (third, fourth) = (1 + (side * WORKERS_APART + worker) % 250, 1 + run % 250);
            IpAddr::from([127, 0, third as u8, fourth as u8])
        })
    }
}

/// Starts this program again with other arguments; the first line that it prints is its address,
/// and behind a space that of its metrics page, if it has one.
fn start(name: &'static str, arguments: &[OsString]) -> Result<(Started, String), TargetlessError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    // Ctrl-C is for the run; its server cleans up after itself when its input ends.
    command.process_group(0);
    // What is meant for somebody's server must not shape this one.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DAMSO_") {
            command.env_remove(name);
        }
    }
    let mut child = command.spawn()?;
    let stdout = child.stdout.take();
    let started = Started { child };
    let mut url = String::new();
    if let Some(stdout) = stdout {
        BufReader::new(stdout).read_line(&mut url)?;
    }
    if url.is_empty() {
        let what = "it ended without a word; what it wrote stands above".into();
        return Err(TargetlessError::Start { name, what });
    }
    Ok((started, url.trim().into()))
}
