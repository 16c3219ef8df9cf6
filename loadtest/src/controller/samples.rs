//! Readings of server and machine while a phase runs, and what they come to.

use super::target::Opponent;
use crate::engine::poll::{SECOND_NS, now_ns};
use crate::host::{Machine, Process};
use crate::report::model::{self, Stream, Usage};
use crate::worker::order::Ran;

pub(super) fn usage(streams: &[Stream], ran: &[Ran], samples: &Samples<'_>) -> Usage {
    let deliveries: u64 = streams
        .iter()
        .map(|s| s.counts.delivered + s.counts.caught_up + s.counts.delivered_slowly)
        .sum();
    let per_delivery = |n: f64| n / (deliveries.max(1) as f64);
    let seconds = ran.iter().map(|part| part.seconds).fold(1e-9, f64::max);
    let own_ns: u64 = ran.iter().map(|part| part.own_cpu_ns).sum();
    let busiest_ns = ran.iter().map(|part| part.own_cpu_ns).max().unwrap_or(0);
    let bytes_in: u64 = ran.iter().map(|part| part.bytes_in).sum();
    let server_ns = samples.server_ns();
    let (machine_busy, steal) = samples.machine();
    Usage {
        deliveries,
        bytes_per_delivery: per_delivery(bytes_in as f64),
        server_us_per_delivery: server_ns
            .filter(|_| deliveries > 0)
            .map(|ns| per_delivery(ns as f64 / 1e3)),
        server_busy: server_ns.map(|ns| ns as f64 / 1e9 / seconds),
        server: samples.last(),
        own_us_per_delivery: per_delivery(own_ns as f64 / 1e3),
        own_busy: own_ns as f64 / 1e9 / seconds,
        own_busiest: busiest_ns as f64 / 1e9 / seconds,
        machine_busy,
        steal,
    }
}

/// Readings of server and machine, one a second, the first at the start of the phase.
pub(super) struct Samples<'o> {
    opponent: &'o Opponent,
    start_ns: u64,
    end_ns: u64,
    next_ns: u64,
    taken: Vec<(Option<Process>, Machine)>,
}

impl<'o> Samples<'o> {
    pub(super) fn new(start_ns: u64, seconds: f64, opponent: &'o Opponent) -> Self {
        let end_ns = start_ns + (seconds * 1e9) as u64;
        Self { opponent, start_ns, end_ns, next_ns: start_ns, taken: Vec::new() }
    }

    pub(super) fn take_due(&mut self) {
        if now_ns() >= self.next_ns && self.next_ns <= self.end_ns {
            self.take();
            let over = (now_ns().saturating_sub(self.start_ns)) / SECOND_NS;
            self.next_ns = self.start_ns + (over + 1) * SECOND_NS;
        }
    }

    fn take(&mut self) {
        self.taken.push((self.opponent.watch.read(), Machine::read()));
    }

    /// The phase is over, its tail included.
    pub(super) fn end(&mut self) {
        self.take();
    }

    fn last(&self) -> Option<Process> {
        self.taken.last().and_then(|sample| sample.0)
    }

    fn server_ns(&self) -> Option<u64> {
        let first = self.taken.first()?.0?;
        Some(self.last()?.cpu_ns.saturating_sub(first.cpu_ns))
    }

    fn machine(&self) -> (f64, f64) {
        match (self.taken.first(), self.taken.last()) {
            (Some(first), Some(last)) => last.1.shares_since(&first.1),
            _ => (0.0, 0.0),
        }
    }

    /// Puts what was read in each second beside what the workers say of it.
    pub(super) fn fill_in(&self, series: &mut [model::Second]) {
        for second in series {
            let at = second.at as usize;
            let pair = at
                .checked_sub(1)
                .and_then(|before| Some((self.taken.get(before)?, self.taken.get(at)?)));
            let Some((before, now)) = pair else { continue };
            second.steal = now.1.shares_since(&before.1).1;
            if let (Some(before), Some(now)) = (before.0, now.0) {
                let busy = now.cpu_ns.saturating_sub(before.cpu_ns) as f64 / 1e9;
                second.server_busy = Some(busy);
                second.server_bytes = Some(now.resident_bytes);
            }
        }
    }
}
