//! How the server is, for whoever asks on the admin port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::identity::Identity;
use crate::admin::{Facts, Health};
use crate::model::memory::{Level, Memory};
use crate::runtime::shutdown::{Phase, Watch};
use crate::store::log::ChannelLog;

/// What the answer is made from.
pub(super) struct Ready {
    pub(super) log: Arc<dyn ChannelLog>,
    pub(super) identity: Arc<Identity>,
    pub(super) memory: Memory,
    pub(super) memory_budget_bytes: u64,
    pub(super) shutdown: Watch,
    pub(super) since: Instant,
    pub(super) live: Arc<AtomicUsize>,
    pub(super) live_max: usize,
    /// Of chat clients, and of backends.
    pub(super) addresses: (SocketAddr, SocketAddr),
}

impl Health for Ready {
    fn ready(&self) -> Result<(), String> {
        if self.shutdown.phase() != Phase::Running {
            return Err("draining: connections are not taken any more".to_owned());
        }
        if self.memory.level() >= Level::Tight {
            return Err("memory is short: nobody new comes in".to_owned());
        }
        self.log.writable().map_err(|why| format!("the store takes no writes: {why}"))
    }

    fn facts(&self) -> Facts {
        let (chat, api) = self.addresses;
        Facts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            draining: self.shutdown.phase() != Phase::Running,
            uptime_s: self.since.elapsed().as_secs(),
            chat,
            api,
            connections: self.live.load(Ordering::Relaxed),
            connections_max: self.live_max,
            certificate_until_s: self.identity.certificate_until_s(),
            memory_budget_bytes: self.memory_budget_bytes,
            memory_level: self.memory.level().name().to_owned(),
        }
    }
}
