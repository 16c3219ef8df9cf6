//! What a server was put through beyond traffic, and what stayed behind.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::Phase;
use crate::figures::Summary;
use crate::host::Process;

/// People who came, logged in, resumed and went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Visits {
    /// People who only visited.
    pub visitors: u64,
    /// Visits planned.
    pub planned: u64,
    /// Of those, visits that were live and up to date before they ended.
    pub whole: u64,
    /// Of those, visits that were broken off on purpose, by step.
    pub broken: BTreeMap<String, u64>,
    /// Visits that the target broke.
    pub failed: u64,
}

/// A server that has nothing to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rest {
    /// Its process. `None`: not known.
    pub server: Option<Process>,
    /// Of its descriptors, files: its store opens what it reads, up to a bound. `None`: not known.
    pub files: Option<u64>,
    /// How much each of its tables holds, all shards together; empty: not known.
    pub tables: BTreeMap<String, f64>,
}

/// What a server at rest held after the first phase with visits, and after the last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// [`MEMORY`], [`MEMORY_BESIDE`], [`DESCRIPTORS`], [`DESCRIPTORS_BESIDE`], or a table's name.
    pub what: String,
    /// After the first.
    pub first: f64,
    /// After the last.
    pub last: f64,
}

/// Resident memory, bytes.
pub const MEMORY: &str = "memory";
/// The same without [`UNFLUSHED`]: what is judged.
pub const MEMORY_BESIDE: &str = "memory beside unflushed messages";
/// The server's gauge of what its store has in memory and not yet in tables on disk: it grows with
/// messages, up to a bound, whoever comes and goes.
pub const UNFLUSHED: &str = "damso_store_unflushed_bytes";
/// Open descriptors.
pub const DESCRIPTORS: &str = "descriptors";
/// The same without files: what is judged.
pub const DESCRIPTORS_BESIDE: &str = "descriptors beside files";

/// A server that was asked to end, and started again on the same data. What was acknowledged and is
/// missing then is a broken law of the verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// From asking to the end of the process, seconds. `None`: it had to be killed.
    pub exit_seconds: Option<f64>,
    /// Its exit code. `None`: a signal ended it.
    pub exit_code: Option<i32>,
    /// Connections that were live then.
    pub connections: u64,
    /// Those of them that ended before the phase did.
    pub ended: u64,
    /// Last frames, by code.
    pub closings: BTreeMap<u32, u64>,
    /// Those that said that the server restarts, and when to come back.
    pub going_away: u64,
    /// Connections that ended without a last frame.
    pub unannounced: u64,
    /// Last frames that named another address.
    pub elsewhere: u64,
    /// When last frames came after the server was asked, microseconds.
    pub told: Summary,
    /// The times that they said, microseconds.
    pub after: Summary,
    /// The least of these.
    pub after_us_min: u64,
    /// Sends that were not answered before their connection ended.
    pub unanswered: u64,
    /// From starting the server again until it took connections, seconds.
    pub start_seconds: f64,
    /// From then until everyone was back, at the pace of the ramp, seconds.
    pub back_seconds: f64,
}

/// What a server held at the end of a phase.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Held {
    /// Connections that did not read.
    pub stalled: u64,
    /// Those of them that were still there, and the sockets of those that were full: when measuring
    /// began, and at the end.
    pub full: [(u64, u64); 2],
    /// What the kernel held for them on the server's side at the end, bytes: of all, and the most of
    /// one.
    pub kernel_bytes: (u64, u64),
    /// Why nothing is known of the kernel; empty: it is.
    pub kernel_unknown: String,
    /// Growth of the server's resident memory from the beginning of the phase, bytes, without
    /// [`UNFLUSHED`]. `None`: not known.
    pub grown_bytes: Option<f64>,
    /// What the server itself says that its channel logs held at the end, bytes. `None`: not known.
    pub log_bytes: Option<u64>,
}

impl Visits {
    /// Visits that ended as they were meant to.
    pub fn done(&self) -> u64 {
        self.whole + self.broken_off()
    }

    /// Visits that were broken off on purpose.
    pub fn broken_off(&self) -> u64 {
        self.broken.values().sum()
    }

    /// Adds another worker's.
    pub fn merge(&mut self, other: &Self) {
        self.visitors += other.visitors;
        self.planned += other.planned;
        self.whole += other.whole;
        self.failed += other.failed;
        for (step, count) in &other.broken {
            *self.broken.entry(step.clone()).or_default() += count;
        }
    }
}

impl Rest {
    fn descriptors_beside(&self) -> u64 {
        let open = self.server.map_or(0, |server| server.descriptors);
        open.saturating_sub(self.files.unwrap_or(0))
    }

    /// No table holds more than it did at `earlier`, and no more descriptors are open.
    pub fn is_within(&self, earlier: &Self) -> bool {
        if self.descriptors_beside() > earlier.descriptors_beside() {
            return false;
        }
        self.tables.iter().all(|(name, held)| {
            name == UNFLUSHED || *held <= earlier.tables.get(name).copied().unwrap_or(0.0)
        })
    }
}

impl Growth {
    /// From the first of `phases` after which the server was looked at to the last.
    pub fn over(phases: &[Phase]) -> Vec<Self> {
        let mut rests = phases.iter().filter_map(|phase| phase.rest.as_ref());
        let Some(first) = rests.next() else { return Vec::new() };
        let Some(last) = rests.next_back() else { return Vec::new() };
        let mut found = Vec::new();
        if let (Some(before), Some(after)) = (first.server, last.server) {
            let of = |what: &str, first: f64, last: f64| Self { what: what.into(), first, last };
            let unflushed = |rest: &Rest| rest.tables.get(UNFLUSHED).copied().unwrap_or(0.0);
            let (resident, later) = (before.resident_bytes as f64, after.resident_bytes as f64);
            found.push(of(MEMORY, resident, later));
            found.push(of(MEMORY_BESIDE, resident - unflushed(first), later - unflushed(last)));
            found.push(of(DESCRIPTORS, before.descriptors as f64, after.descriptors as f64));
            let beside = |rest: &Rest| rest.descriptors_beside() as f64;
            found.push(of(DESCRIPTORS_BESIDE, beside(first), beside(last)));
        }
        found.extend(last.tables.iter().map(|(name, last)| Self {
            what: name.clone(),
            // A table that was not there was empty.
            first: first.tables.get(name).copied().unwrap_or(0.0),
            last: *last,
        }));
        found
    }

    /// As a share of what was there first.
    pub fn share(&self) -> f64 {
        (self.last - self.first) / self.first.max(1.0)
    }

    /// It is more than it may be: memory by a share, anything else by one.
    pub fn is_too_much(&self, memory_share_max: f64) -> bool {
        match self.what.as_str() {
            MEMORY | UNFLUSHED | DESCRIPTORS => false,
            MEMORY_BESIDE => self.share() > memory_share_max,
            _ => self.last > self.first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(resident_bytes: u64, sessions: f64) -> Phase {
        let server = Some(Process { cpu_ns: 0, resident_bytes, descriptors: 9 });
        let tables = [("sessions".to_owned(), sessions), (UNFLUSHED.to_owned(), 10.0 * sessions)];
        let tables = tables.into();
        Phase { rest: Some(Rest { server, files: Some(3), tables }), ..Phase::default() }
    }

    #[test]
    fn growth_is_between_the_first_and_the_last_rest() {
        let phases = [phase(1_000, 5.0), Phase::default(), phase(9_000, 50.0), phase(1_025, 6.0)];
        let found = Growth::over(&phases);
        let too_much: Vec<&str> =
            found.iter().filter(|one| one.is_too_much(0.02)).map(|one| one.what.as_str()).collect();
        assert_eq!((found.len(), too_much), (6, vec!["sessions"]));
        // 950 -> 965 without what is unflushed.
        assert!(found.iter().any(|one| one.is_too_much(0.01) && one.what == MEMORY_BESIDE));
        assert!(Growth::over(&phases[..2]).is_empty(), "one rest says nothing");
    }
}
