//! A server that serves, and how it ends.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::config::Config;
use super::greeting::{self, Facts};
use super::identity::Identity;
use super::key_server::KeyServer;
use super::reload::Reload;
use crate::requests::Revoker;
use crate::runtime::shutdown::{Drain, Phase, Shutdown};
use crate::store::log::ChannelLog;

/// A running server. Dropping it without [`Server::stop`] ends it as a crash would.
pub struct Server {
    pub(super) config: Config,
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) api: SocketAddr,
    pub(super) identity: Arc<Identity>,
    pub(super) reload: Reload,
    pub(super) log: Arc<dyn ChannelLog>,
    pub(super) revoker: Revoker,
    /// Ends with the server.
    pub(super) _key_server: Option<KeyServer>,
    pub(super) shutdown: Shutdown,
    pub(super) drain: Arc<Drain>,
    pub(super) shards: Vec<JoinHandle<()>>,
    pub(super) page: Option<JoinHandle<()>>,
    pub(super) web: Option<JoinHandle<()>>,
    pub(super) all_drained: Receiver<()>,
}

impl Server {
    /// Where chat clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the admin page is.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// Where backends ask.
    pub fn api_address(&self) -> SocketAddr {
        self.api
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.config.data
    }

    /// A connection string for `uid`, signed by the built-in issuer. `None`: tokens are
    /// issued elsewhere, or the uid is not one.
    pub fn connection_string(&self, uid: &str, good_for: Duration) -> Option<String> {
        self.identity.connection_string(self.address, uid, good_for)
    }

    /// Makes tokens and devices count no more, as an operator says.
    pub fn revoker(&self) -> &Revoker {
        &self.revoker
    }

    /// What a newcomer reads after the start.
    pub fn greeting(&self) -> String {
        greeting::greeting(&Facts {
            address: self.address,
            admin: self.admin,
            api: self.api,
            data: &self.config.data,
            identity: &self.identity,
        })
    }

    /// Reads the certificate's files again, in the background: metrics and log say what came of
    /// it. The development certificate stays.
    pub fn reload(&self) {
        self.reload.ask();
    }

    /// Stops accepting, commits and answers what is on its way, tells every client when to
    /// come back, closes the store. Bounded: see `shutdown_time` in the limits.
    pub fn stop(mut self) {
        self.shutdown.advance(Phase::Draining);
        // Every shard holds a sender until it has drained: an error means that all have.
        while self.all_drained.recv().is_ok() {}
        self.shutdown.advance(Phase::Stopped);
        for shard in self.shards.drain(..) {
            if shard.join().is_err() {
                tracing::error!("a shard ended by a panic");
            }
        }
        self.log.close();
        for (thread, what) in [(self.page.take(), "the admin page"), (self.web.take(), "the API")] {
            if thread.is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("{what} ended by a panic");
            }
        }
    }
}

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// SIGTERM, SIGINT, or an operator on the admin port: the end.
    Stop,
    /// SIGHUP: files are to be read again.
    Reload,
}

/// The signals that a server obeys, watched from the moment it is made: make it before anybody is
/// told that there is a server to be stopped.
pub struct Signals {
    runtime: tokio::runtime::Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Watches SIGTERM, SIGINT and SIGHUP.
    ///
    /// # Errors
    /// Signals cannot be watched.
    pub fn watch() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let _within = runtime.enter();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let hangup = signal(SignalKind::hangup())?;
        drop(_within);
        Ok(Self { runtime, terminate, interrupt, hangup })
    }

    /// Waits for one of them, or for what is asked of this server on its admin port; the end goes
    /// first.
    pub fn wait(&mut self, server: &Server) -> Asked {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => Asked::Stop,
                _ = self.interrupt.recv() => Asked::Stop,
                () = server.drain.asked() => Asked::Stop,
                _ = self.hangup.recv() => Asked::Reload,
            }
        })
    }
}

/// Structured logs on standard error, `DAMSO_LOG` chooses what (`info` by default).
/// Tokens and message bodies are never among them.
pub fn log_to_stderr() {
    use std::io::IsTerminal as _;

    let filter = tracing_subscriber::EnvFilter::try_from_env("DAMSO_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,fjall=warn,lsm_tree=warn"));
    let colours = std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        // A terminal that was closed would make a panic of each line.
        .log_internal_errors(false)
        .init();
}
