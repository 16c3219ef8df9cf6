//! What workers say second by second, merged: the sum of all pieces is the whole, bit for bit.

use std::collections::BTreeMap;

use super::log::SecondLog;
use crate::figures::Latencies;
use crate::report::model::{Measure, Measured, Second};
use crate::worker::order::{self, StreamSecond};

/// One phase of one side, while it runs.
pub(super) struct Gather<'l> {
    /// The last second that each worker told of.
    told: Vec<u32>,
    open: BTreeMap<u32, Merged>,
    /// Per stream and measure: the whole phase.
    totals: BTreeMap<(u16, Measure), Latencies>,
    /// Seconds that all workers told of.
    pub(super) series: Vec<Second>,
    log: Option<&'l mut SecondLog>,
}

/// One second, all workers together.
#[derive(Default)]
struct Merged {
    streams: BTreeMap<u16, StreamSecond>,
    live: u64,
    visits: u64,
    own_cpu_ns: u64,
}

impl<'l> Gather<'l> {
    pub(super) fn new(workers: usize, log: Option<&'l mut SecondLog>) -> Self {
        Self {
            told: vec![0; workers],
            open: BTreeMap::new(),
            totals: BTreeMap::new(),
            series: Vec::new(),
            log,
        }
    }

    /// Takes in a worker's second; returns how many became whole by it.
    pub(super) fn take(&mut self, worker: usize, second: order::Second) -> usize {
        self.told[worker] = second.at;
        let merged = self.open.entry(second.at).or_default();
        merged.live += second.live;
        merged.visits += second.visits;
        merged.own_cpu_ns += second.own_cpu_ns;
        for (number, part) in second.streams {
            add(merged.streams.entry(number).or_default(), part);
        }
        let whole = self.told.iter().copied().min().unwrap_or(0);
        self.close(whole)
    }

    /// Closes what is still open.
    pub(super) fn finish(&mut self) {
        self.close(u32::MAX);
    }

    fn close(&mut self, up_to: u32) -> usize {
        let mut closed = 0;
        while let Some(entry) = self.open.first_entry()
            && *entry.key() <= up_to
        {
            let (at, merged) = entry.remove_entry();
            self.close_one(at, merged);
            closed += 1;
        }
        closed
    }

    fn close_one(&mut self, at: u32, merged: Merged) {
        let own_busy = merged.own_cpu_ns as f64 / 1e9;
        let Merged { live, visits, .. } = merged;
        let mut second = Second { at, live, visits, own_busy, ..Second::default() };
        let mut together: BTreeMap<Measure, Latencies> = BTreeMap::new();
        for (number, stream) in merged.streams {
            second.offered += stream.offered;
            second.sent += stream.sent;
            second.acked += stream.acked;
            second.delivered += stream.delivered;
            for (measure, latencies) in stream.latencies {
                if let Some(log) = &mut self.log {
                    log.add(number, measure, at, &latencies);
                }
                together.entry(measure).or_default().merge(&latencies);
                self.totals.entry((number, measure)).or_default().merge(&latencies);
            }
        }
        let summary = |measure| together.get(&measure).map(Latencies::summary).unwrap_or_default();
        second.ack = summary(Measure::Ack);
        second.response = summary(Measure::Response);
        second.last = summary(Measure::Last);
        second.lateness = summary(Measure::Lateness);
        self.series.push(second);
    }

    /// The distributions of one stream.
    pub(super) fn measured(&self, stream: u16) -> Vec<Measured> {
        let own = self.totals.range((stream, Measure::Ack)..(stream + 1, Measure::Ack));
        own.map(|((_, measure), latencies)| Measured {
            measure: *measure,
            summary: latencies.summary(),
            curve: latencies.curve(),
            histogram: latencies.clone(),
        })
        .collect()
    }
}

fn add(sum: &mut StreamSecond, part: StreamSecond) {
    sum.offered += part.offered;
    sum.sent += part.sent;
    sum.acked += part.acked;
    sum.delivered += part.delivered;
    for (measure, latencies) in part.latencies {
        match sum.latencies.iter_mut().find(|(known, _)| *known == measure) {
            Some((_, known)) => known.merge(&latencies),
            None => sum.latencies.push((measure, latencies)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(at: u32, values: std::ops::Range<u64>) -> order::Second {
        let mut latencies = Latencies::default();
        values.for_each(|n| latencies.record_ns(n * n * 1_000));
        let stream = StreamSecond {
            sent: 1,
            latencies: vec![(Measure::Last, latencies)],
            ..StreamSecond::default()
        };
        order::Second { at, streams: vec![(0, stream)], live: 5, visits: 0, own_cpu_ns: 1_000_000 }
    }

    #[test]
    fn merged_workers_are_the_sum_of_all_and_a_second_is_whole_when_all_told_of_it() {
        let mut gather = Gather::new(2, None);
        assert_eq!(gather.take(0, second(1, 0..100)), 0);
        assert_eq!(gather.take(0, second(2, 100..200)), 0);
        assert_eq!(gather.take(1, second(1, 200..300)), 1);
        // A worker that was late skips a second.
        assert_eq!(gather.take(1, second(3, 300..400)), 1);
        gather.finish();
        assert_eq!(gather.series.iter().map(|s| s.at).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(gather.series[0].live, 10);
        assert_eq!(gather.series.iter().map(|s| s.sent).sum::<u64>(), 4);
        let mut whole = Latencies::default();
        (0..400).for_each(|n| whole.record_ns(n * n * 1_000));
        assert_eq!(gather.measured(0)[0].histogram, whole);
        assert!(gather.measured(1).is_empty());
    }
}
