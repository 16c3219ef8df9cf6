//! What is measured, in one-second pieces: the sum of the pieces is the whole, bit for bit.

use crate::figures::Latencies;
use crate::report::model::{Counts, Measure};

use super::order::StreamSecond;

/// One stream.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// Of the whole phase.
    pub(super) counts: Counts,
    /// What was meant to begin before, in the lead of the phase, is counted and not measured.
    pub(super) from_ns: u64,
    /// Of the running second.
    second: StreamSecond,
    /// In the order of [`Measure::ALL`]; made when something is recorded.
    latencies: [Option<Box<Latencies>>; Measure::ALL.len()],
}

impl Meter {
    /// Something that was meant to begin at `intended_ns` took so long.
    pub(super) fn record(&mut self, measure: Measure, intended_ns: u64, ns: u64) {
        if intended_ns < self.from_ns {
            return;
        }
        self.latencies[measure as usize].get_or_insert_default().record_ns(ns);
    }

    pub(super) fn offered(&mut self) {
        self.second.offered += 1;
    }

    pub(super) fn sent(&mut self) {
        self.counts.sent += 1;
        self.second.sent += 1;
    }

    pub(super) fn acked(&mut self) {
        self.counts.acked += 1;
        self.second.acked += 1;
    }

    /// A delivery, by whatever way it came.
    pub(super) fn delivered(&mut self) {
        self.second.delivered += 1;
    }

    /// Takes the running second and begins the next. `None`: nothing happened.
    pub(super) fn take_second(&mut self) -> Option<StreamSecond> {
        let mut second = std::mem::take(&mut self.second);
        for (measure, latencies) in Measure::ALL.into_iter().zip(&mut self.latencies) {
            let Some(latencies) = latencies.as_mut().filter(|some| !some.is_empty()) else {
                continue;
            };
            second.latencies.push((measure, (**latencies).clone()));
            latencies.clear();
        }
        let nothing = second.offered + second.sent + second.acked + second.delivered == 0
            && second.latencies.is_empty();
        (!nothing).then_some(second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seconds_sum_up_to_the_whole() {
        let mut meter = Meter::default();
        let (mut whole, mut summed) = (Latencies::default(), Latencies::default());
        for second in 0..5_u64 {
            for n in 0..1_000 {
                let ns = (n * n + second) * 997;
                meter.record(Measure::Last, 0, ns);
                whole.record_ns(ns);
            }
            let taken = meter.take_second().unwrap();
            assert_eq!(taken.latencies.len(), 1);
            summed.merge(&taken.latencies[0].1);
        }
        assert!(meter.take_second().is_none());
        meter.from_ns = 8;
        meter.record(Measure::Last, 7, 1_000);
        assert!(meter.take_second().is_none(), "it belongs to the lead");
        assert_eq!(summed, whole);
    }
}
