//! What everybody saw, in the order in which they saw it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use damso_client::Key;
use damso_loadtest::checker::{Checker, Observation};
use tokio::time::Instant;

use super::story::End;

/// Places named per broken law.
const WITNESSES_MAX: usize = 5;

/// See the module's text.
pub(crate) struct Watch {
    checker: Checker,
    wrong: Vec<String>,
    unanswered: BTreeMap<Key, Observation>,
    begun: Instant,
    trace: DefaultHasher,
    numbers: u64,
    seed: u64,
    /// Tell everything as it is seen.
    tells: bool,
}

impl Watch {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            tells: std::env::var_os("DAMSO_SIM_TELL").is_some(),
            checker: Checker::new(WITNESSES_MAX),
            wrong: Vec::new(),
            unanswered: BTreeMap::new(),
            begun: Instant::now(),
            trace: DefaultHasher::new(),
            numbers: 0,
        }
    }

    /// A number for a receiver or a session.
    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Reports to the checker.
    pub(crate) fn observe(&mut self, observation: Observation) {
        self.note(&observation);
        match observation {
            Observation::Sent { key, .. } => drop(self.unanswered.insert(key, observation)),
            Observation::Acked { key, .. }
            | Observation::Refused { key }
            | Observation::Doubtful { key } => drop(self.unanswered.remove(&key)),
            _ => {}
        }
        self.checker.observe(observation);
    }

    /// Something that must not be.
    pub(crate) fn wrong(&mut self, what: String) {
        self.note(&what);
        self.wrong.push(what);
    }

    /// Sends whose outcome nobody was told.
    pub(crate) fn unanswered(&self) -> &BTreeMap<Key, Observation> {
        &self.unanswered
    }

    /// Adds to what two plays of one seed must have in common.
    fn note(&mut self, seen: &impl Debug) {
        let told = format!("{:?} {seen:?}", self.begun.elapsed());
        told.hash(&mut self.trace);
        if self.tells {
            eprintln!("{told}");
        }
    }

    pub(crate) fn end(self, lasted: Duration) -> End {
        let Self { seed, checker, wrong, trace, .. } = self;
        End { seed, verdict: checker.finish(), wrong, trace: trace.finish(), lasted }
    }
}
