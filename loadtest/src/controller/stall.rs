//! What a server holds for those who do not read: looked at when measuring begins and just before
//! they read again, in every phase of such a scenario, so that looking costs each the same.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;

use super::side::Turned;
use super::sockets;
use super::target::Opponent;
use super::watch::Watch;
use crate::engine::poll::now_ns;
use crate::report::stress::{Held, UNFLUSHED};

/// The last look is this long before the end: a look takes a part of it.
const BEFORE_END_NS: u64 = 500_000_000;

/// See the module.
pub(super) struct Stall<'o> {
    opponent: &'o Opponent,
    /// Who does not read.
    pub(super) peers: HashSet<SocketAddr>,
    /// When to look, the next one last.
    due_ns: Vec<u64>,
    /// The server's memory at the beginning.
    began_bytes: Option<f64>,
    looks: Vec<Result<sockets::Held, String>>,
    grown_bytes: Option<f64>,
    log_bytes: Option<u64>,
}

impl<'o> Stall<'o> {
    pub(super) fn new(start_ns: u64, turned: &Turned<'_>, opponent: &'o Opponent) -> Self {
        let from_ns = start_ns + (turned.lead_seconds * 1e9) as u64;
        let to_ns = from_ns + (turned.seconds * 1e9) as u64;
        Self {
            opponent,
            peers: HashSet::new(),
            due_ns: vec![to_ns.saturating_sub(BEFORE_END_NS), from_ns],
            began_bytes: memory(opponent, &tables(opponent)),
            looks: Vec::new(),
            grown_bytes: None,
            log_bytes: None,
        }
    }

    pub(super) fn look_if_due(&mut self) {
        if self.due_ns.pop_if(|due_ns| *due_ns <= now_ns()).is_none() {
            return;
        }
        self.looks.push(sockets::held(self.opponent.address.port(), &self.peers));
        let tables = tables(self.opponent);
        let now_bytes = memory(self.opponent, &tables);
        self.grown_bytes = now_bytes.zip(self.began_bytes).map(|(now, began)| now - began);
        self.log_bytes = tables.get("damso_channel_log_bytes").map(|bytes| *bytes as u64);
    }

    /// What was found. `None`: the phase was too short to look.
    pub(super) fn found(self) -> Option<Held> {
        let [first, last] = <[_; 2]>::try_from(self.looks).ok()?;
        let mut held = Held {
            stalled: self.peers.len() as u64,
            grown_bytes: self.grown_bytes,
            log_bytes: self.log_bytes,
            ..Held::default()
        };
        match (first, last) {
            (Ok(first), Ok(last)) => {
                held.full = [first, last].map(|look| (look.sockets, look.full));
                held.kernel_bytes = (last.bytes, last.bytes_max);
            }
            (Err(why), _) | (_, Err(why)) => held.kernel_unknown = why,
        }
        Some(held)
    }
}

fn tables(opponent: &Opponent) -> BTreeMap<String, f64> {
    opponent.page.as_ref().and_then(Watch::tables).unwrap_or_default()
}

/// Resident memory without what the store has yet to write: that grows with messages, whoever reads
/// them.
fn memory(opponent: &Opponent, tables: &BTreeMap<String, f64>) -> Option<f64> {
    let resident_bytes = opponent.watch.read()?.resident_bytes as f64;
    Some(resident_bytes - tables.get(UNFLUSHED).copied().unwrap_or(0.0))
}
