//! What came of more than a server can do: each phase of overload between the phase before it and the
//! one after it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::model::{Counts, Measure, Phase};
use super::text::time;
use crate::figures::Summary;
use crate::scenario::Scenario;

/// It is as before when no later second's p99 to the ack is above this multiple of the phase's
/// before.
const BACK: u64 = 2;

/// See the module. All streams that send together; times are of the worst.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overload {
    /// Its name.
    pub phase: String,
    /// Which repetition.
    pub repeat: u32,
    /// What was meant to be sent, and what came of it.
    pub counts: Counts,
    /// Intended send to the refusal, microseconds.
    pub refused: Summary,
    /// p99 from the intended send to the ack, microseconds: before, and of what was accepted in it.
    pub ack_p99: (u64, u64),
    /// Memory of the server, bytes: at the end of the phase before, the most in it, and at the end of
    /// the one after. `None`: not known.
    pub memory: Option<(u64, u64, u64)>,
    /// Seconds from the end of the load until all was as before. `None`: it was not within the phase
    /// after.
    pub back_seconds: Option<f64>,
}

impl Overload {
    /// Of the phases of one target, which are those of `scenario`, repetition by repetition.
    pub fn over(scenario: &Scenario, phases: &[Phase]) -> Vec<Self> {
        let planned = scenario.phases();
        let mut found = Vec::new();
        for (at, three) in phases.windows(3).enumerate() {
            let plan = &planned[(at + 1) % planned.len()];
            if plan.overload {
                let seconds = plan.seconds.unwrap_or(scenario.run.seconds);
                found.push(Self::of(&three[0], &three[1], &three[2], seconds));
            }
        }
        found
    }

    fn of(before: &Phase, during: &Phase, after: &Phase, seconds: f64) -> Self {
        let mut counts = Counts::default();
        during.streams.iter().for_each(|stream| counts.merge(&stream.counts));
        let p99 = |phase: &Phase| worst(phase, Measure::Ack).p99;
        let resident = |phase: &Phase| phase.usage.server.map(|server| server.resident_bytes);
        let peak = during.series.iter().filter_map(|second| second.server_bytes).max();
        let memory =
            (|| Some((resident(before)?, peak?.max(resident(during)?), resident(after)?)))();
        let limit = p99(before) * BACK;
        let bad = after.series.iter().rfind(|second| second.ack.p99 > limit);
        let is_back = bad.is_none_or(|bad| after.series.last().is_some_and(|l| l.at > bad.at));
        let tail = (during.seconds - seconds).max(0.0);
        Self {
            phase: during.name.clone(),
            repeat: during.repeat,
            counts,
            refused: worst(during, Measure::Refused),
            ack_p99: (p99(before), p99(during)),
            memory,
            back_seconds: is_back.then(|| tail + bad.map_or(0.0, |bad| f64::from(bad.at))),
        }
    }
}

fn worst(phase: &Phase, measure: Measure) -> Summary {
    let all = phase.streams.iter().map(|stream| stream.summary(measure));
    all.max_by_key(|summary| summary.p99).unwrap_or_default()
}

impl fmt::Display for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { counts, refused, ack_p99, .. } = self;
        writeln!(
            f,
            "\n  {}: {} offered, {} accepted, {} refused {:?}, {} without a time; refused after p50 {} \
             p99 {} max {}",
            self.phase,
            counts.planned,
            counts.acked,
            counts.refusals(),
            counts.refused,
            counts.untimed,
            time(refused.p50),
            time(refused.p99),
            time(refused.max)
        )?;
        let ratio = ack_p99.1 as f64 / ack_p99.0.max(1) as f64;
        let (before, during) = (time(ack_p99.0), time(ack_p99.1));
        writeln!(f, "    ack p99 {before} before, {during} of what was accepted: x {ratio:.2}")?;
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        match self.memory {
            Some((before, peak, after)) => writeln!(
                f,
                "    server memory {:.1} MiB before, {:.1} at most, {:.1} after",
                mebibytes(before),
                mebibytes(peak),
                mebibytes(after)
            )?,
            None => writeln!(f, "    server memory NOT KNOWN")?,
        }
        match self.back_seconds {
            Some(seconds) => writeln!(f, "    as before after {seconds:.1} s"),
            None => writeln!(f, "    NOT as before in the phase after"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{Measured, Second, Stream};
    use super::*;
    use crate::figures::Latencies;

    fn phase(name: &str, ack_us: u64, seconds: f64, series: &[u64]) -> Phase {
        let mut histogram = Latencies::default();
        histogram.record_ns(ack_us * 1_000);
        let (summary, curve) = (histogram.summary(), Vec::new());
        let ack = Measured { measure: Measure::Ack, summary, curve, histogram };
        let stream = Stream { name: "talk".into(), latencies: vec![ack], ..Stream::default() };
        let second = |(at, p99): (u32, &u64)| Second {
            at,
            ack: Summary { p99: *p99, ..Summary::default() },
            ..Second::default()
        };
        let (series, streams) = ((1..).zip(series).map(second).collect(), vec![stream]);
        Phase { name: name.into(), seconds, streams, series, ..Phase::default() }
    }

    #[test]
    fn it_is_back_when_no_later_second_is_worse_than_before() {
        let check = |after: &[u64], expected: Option<f64>| {
            let [before, during] =
                [("b", 100, 5.0), ("d", 900, 12.5)].map(|(n, a, s)| phase(n, a, s, &[]));
            let found = Overload::of(&before, &during, &phase("a", 100, 5.0, after), 10.0);
            assert_eq!(found.ack_p99, (100, 900));
            assert_eq!(found.back_seconds, expected, "{after:?}");
        };
        check(&[100, 200, 150], Some(2.5));
        check(&[900, 100, 201, 90, 90], Some(5.5));
        check(&[900, 900], None);
    }
}
