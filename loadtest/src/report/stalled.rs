//! What those who do not read cost the server, and the others: each phase in which some stall beside
//! the one of the same repetition in which all read.

use serde::{Deserialize, Serialize};

use super::model::{Measure, Phase};
use super::verdict::spread;

/// One phase in which some did not read, all its repetitions together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stalled {
    /// Its name.
    pub phase: String,
    /// The phase that it stands beside.
    pub beside: String,
    /// Repetitions.
    pub repeats: u32,
    /// Who did not read, of whom the fewest were still connected at the end of a repetition.
    pub readers: (u64, u64),
    /// Of those, the fewest whose sockets were full when measuring began.
    pub full: u64,
    /// What the server's process grew by beyond its growth where all read, or what its channel logs
    /// held if that is more, for each of them, bytes: the most of any repetition. `None`: not known.
    pub user_bytes: Option<f64>,
    /// What the kernel held on the server's side for one of them, bytes: the most of any repetition.
    /// `None`: not known.
    pub kernel_bytes: Option<u64>,
    /// Why not; empty: it is known.
    pub unknown: String,
    /// What the others felt, one entry per stream.
    pub others: Vec<Felt>,
}

/// p99 to the last receiver of one stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Felt {
    /// The stream.
    pub stream: String,
    /// Where some stalled over where all read: the least, the median and the greatest repetition.
    pub ratio: (f64, f64, f64),
}

impl Stalled {
    /// Of the phases of one target.
    pub fn over(phases: &[Phase]) -> Vec<Self> {
        let stalls = |phase: &&Phase| phase.held.as_ref().is_some_and(|held| held.stalled > 0);
        let mut found: Vec<Self> = Vec::new();
        for phase in phases.iter().filter(stalls) {
            if !found.iter().any(|one| one.phase == phase.name) {
                found.extend(Self::of(phases, &phase.name));
            }
        }
        found
    }

    fn of(phases: &[Phase], name: &str) -> Option<Self> {
        let pairs: Vec<(&Phase, &Phase)> = phases
            .iter()
            .filter(|phase| phase.name == name)
            .filter_map(|phase| Some((all_read(phases, phase.repeat)?, phase)))
            .collect();
        let (beside, first) = pairs.first()?;
        let mut found = Self {
            phase: name.into(),
            beside: beside.name.clone(),
            repeats: pairs.len() as u32,
            readers: (0, u64::MAX),
            full: u64::MAX,
            ..Self::default()
        };
        for (calm, phase) in &pairs {
            found.add(calm, phase);
        }
        found.others = first.streams.iter().filter_map(|s| felt(&pairs, &s.name)).collect();
        Some(found)
    }

    fn add(&mut self, calm: &Phase, phase: &Phase) {
        let Some(held) = &phase.held else { return };
        self.readers = (self.readers.0.max(held.stalled), self.readers.1.min(held.full[1].0));
        self.full = self.full.min(held.full[0].1);
        let grown = |phase: &Phase| phase.held.as_ref().and_then(|held| held.grown_bytes);
        if let (Some(calm), Some(stalled)) = (grown(calm), grown(phase)) {
            // What a process had to itself before is used again, and one that is still warming up
            // grows more while all read: it holds what its logs hold at least.
            let logs = held.log_bytes.unwrap_or(0) as f64;
            let each = (stalled - calm.max(0.0)).max(logs) / held.stalled.max(1) as f64;
            self.user_bytes = Some(self.user_bytes.map_or(each, |most| most.max(each)));
        }
        if held.kernel_unknown.is_empty() {
            self.kernel_bytes = self.kernel_bytes.max(Some(held.kernel_bytes.1));
        } else {
            self.unknown.clone_from(&held.kernel_unknown);
        }
    }
}

fn all_read(phases: &[Phase], repeat: u32) -> Option<&Phase> {
    phases.iter().find(|phase| phase.repeat == repeat && phase.slow == 0)
}

fn felt(pairs: &[(&Phase, &Phase)], stream: &str) -> Option<Felt> {
    let p99 = |phase: &Phase| {
        let found = phase.streams.iter().find(|found| found.name == stream)?;
        let summary = found.summary(Measure::Last);
        (summary.count > 0).then_some(summary.p99 as f64)
    };
    let ratios: Vec<f64> =
        pairs.iter().filter_map(|(calm, phase)| Some(p99(phase)? / p99(calm)?)).collect();
    Some(Felt { stream: stream.into(), ratio: spread(&ratios)? })
}

#[cfg(test)]
mod tests {
    use super::super::model::{Measured, Stream};
    use super::super::stress::Held;
    use super::*;
    use crate::figures::Latencies;

    fn phase(name: &str, repeat: u32, p99_us: u64, held: Held) -> Phase {
        let mut histogram = Latencies::default();
        histogram.record_ns(p99_us * 1_000);
        let (summary, curve) = (histogram.summary(), Vec::new());
        let last = Measured { measure: Measure::Last, summary, curve, histogram };
        let stream = Stream { name: "talk".into(), latencies: vec![last], ..Stream::default() };
        let slow = held.stalled;
        let (name, streams) = (name.into(), vec![stream]);
        Phase { name, repeat, slow, streams, held: Some(held), ..Phase::default() }
    }

    fn held(stalled: u64, grown_bytes: f64, most: u64) -> Held {
        Held {
            stalled,
            full: [(stalled, stalled), (stalled, stalled)],
            kernel_bytes: (stalled * most, most),
            grown_bytes: Some(grown_bytes),
            ..Held::default()
        }
    }

    #[test]
    fn each_repetition_is_compared_with_its_own_calm() {
        let phases = [
            phase("calm", 1, 100, held(0, 5_000.0, 0)),
            phase("stalled", 1, 110, held(10, 45_000.0, 700)),
            phase("calm", 2, 200, held(0, -5_000.0, 0)),
            phase("stalled", 2, 260, held(10, 0.0, 900)),
        ];
        let found = Stalled::over(&phases);
        assert_eq!(found.len(), 1);
        let one = &found[0];
        assert_eq!((one.repeats, one.readers, one.full), (2, (10, 10), 10));
        assert_eq!((one.user_bytes, one.kernel_bytes), (Some(4_000.0), Some(900)));
        let (low, middle, high) = one.others[0].ratio;
        let off = (low - 1.1).abs() + (middle - 1.2).abs() + (high - 1.3).abs();
        assert!(off < 1e-9, "{low} {middle} {high}");
    }

    #[test]
    fn a_server_holds_what_its_logs_hold_at_least() {
        let logs = Held { log_bytes: Some(9_000), ..held(10, 500.0, 700) };
        let phases = [phase("calm", 1, 100, held(0, 5_000.0, 0)), phase("stalled", 1, 100, logs)];
        assert_eq!(Stalled::over(&phases)[0].user_bytes, Some(900.0));
    }

    #[test]
    fn what_is_not_known_is_not_called_nothing() {
        let unknown =
            Held { kernel_unknown: "no ss".into(), grown_bytes: None, ..held(10, 0.0, 0) };
        let phases = [phase("calm", 1, 100, held(0, 0.0, 0)), phase("stalled", 1, 100, unknown)];
        let one = &Stalled::over(&phases)[0];
        assert_eq!((one.user_bytes, one.kernel_bytes), (None, None));
        assert_eq!(one.unknown, "no ss");
    }
}
