//! From what was found to what it means: outcome, reasons, objectives, ratios.

use std::collections::BTreeMap;

use super::model::{
    Host, Measure, Objective, Outcome, Phase, REPORT_VERSION, Ratio, Report, Side, Stream,
};
use super::stress;
use super::text::time;
use crate::figures::Summary;
use crate::host;
use crate::scenario::{Op, Scenario};
use crate::slo::Objectives;

/// A worker that is busier than this is what was measured, not the server. Share of a core.
pub const OWN_BUSY_MAX: f64 = 0.9;

/// Fewer of the planned visits than this, and the phase was not what it was to be.
const VISITS_SHARE_MIN: f64 = 0.98;

/// What a run was to be.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'b> {
    /// Marks the run.
    pub run: u64,
    /// Name of the scenario.
    pub name: &'b str,
    /// The scenario itself.
    pub scenario: &'b Scenario,
    /// Objectives of the first side.
    pub slo: &'b Objectives,
    /// Lateness of the harness at which a phase is void, milliseconds.
    pub late_ms_max: f64,
}

/// Judges `sides`.
pub fn report(basis: &Basis<'_>, sides: Vec<Side>) -> Report {
    let objectives = sides.first().map(|side| objectives(side, basis.slo)).unwrap_or_default();
    let memory_growth_max = basis.scenario.run.memory_growth_max;
    let (outcome, reasons) = judge(&sides, &objectives, basis.late_ms_max, memory_growth_max);
    Report {
        version: REPORT_VERSION,
        outcome,
        reasons,
        run: basis.run,
        harness: env!("CARGO_PKG_VERSION").into(),
        host: Host::read(),
        scenario: basis.name.into(),
        about: basis.scenario.about.clone(),
        configuration: serde_json::to_value(basis.scenario).unwrap_or_default(),
        objectives,
        ratios: ratios(&sides),
        sides,
        saturation: None,
    }
}

impl Stream {
    /// What was measured of it, if anything.
    pub fn summary(&self, measure: Measure) -> Summary {
        let found = self.latencies.iter().find(|measured| measured.measure == measure);
        found.map(|measured| measured.summary).unwrap_or_default()
    }
}

impl Phase {
    /// Why this phase says nothing about the target.
    pub fn void(&self, late_ms_max: f64) -> Option<String> {
        for stream in &self.streams {
            let late_ms = stream.summary(Measure::Lateness).p99 as f64 / 1e3;
            if late_ms > late_ms_max {
                let name = &stream.name;
                return Some(format!("1 % of `{name}` left {late_ms:.1} ms late or more"));
            }
        }
        if let Some(visits) = &self.visits {
            let (done, planned) = (visits.done() + visits.failed, visits.planned);
            if (done as f64) < planned as f64 * VISITS_SHARE_MIN {
                return Some(format!("there was room for {done} of {planned} visits only"));
            }
        }
        let busy = self.usage.own_busiest;
        (busy > OWN_BUSY_MAX).then(|| format!("a worker was busy for {:.0} %", busy * 100.0))
    }

    /// What did not come, one line each: wrong, unless the harness was late.
    fn wrongs(&self) -> Vec<String> {
        let mut wrongs = Vec::new();
        if self.lost > 0 {
            wrongs.push(format!("{} connections lost: {}", self.lost, self.closings.join("; ")));
        }
        if let Some(stop) = &self.stop {
            if stop.exit_seconds.is_none() || stop.exit_code != Some(0) {
                wrongs.push(format!("the server did not end well: exit code {:?}", stop.exit_code));
            }
            let silent = stop.connections.saturating_sub(stop.ended) + stop.unannounced;
            if silent > 0 {
                wrongs.push(format!("{silent} connections were not told that the server ends"));
            }
            return wrongs;
        }
        for Stream { name, counts, op, .. } in &self.streams {
            // Where connections break by scenario, whole channels may be away.
            if counts.unsent > 0 && self.resets + self.slow == 0 && self.visits.is_none() {
                wrongs.push(format!("{} of `{name}` unsent: nobody was there", counts.unsent));
            }
            let unanswered = counts.sent.saturating_sub(counts.acked + counts.refusals());
            let acks = counts.acked > 0 || *op == Op::History;
            if unanswered > 0 && acks && (*op == Op::Send || self.resets + self.slow == 0) {
                wrongs.push(format!("{unanswered} of `{name}` were never answered"));
            }
        }
        wrongs
    }
}

fn objectives(side: &Side, slo: &Objectives) -> Vec<Objective> {
    let mut found = Vec::new();
    for phase in &side.phases {
        for stream in &phase.streams {
            for objective in &slo.0 {
                let summary = stream.summary(objective.measure);
                if objective.is_about(&stream.name, stream.op) {
                    let (at, kept) = objective.check(&summary);
                    found.push(Objective {
                        text: objective.to_string(),
                        phase: phase.name.clone(),
                        stream: stream.name.clone(),
                        found: at,
                        kept,
                    });
                }
            }
        }
    }
    found
}

/// The law that a starved harness breaks for the target: somebody did not come far enough in time.
const IN_TIME: &str = "NotReached";

/// The outcome and its reasons. What is wrong stays wrong in a late run; how fast it was does not
/// count there, nor what merely did not come in time.
fn judge(
    sides: &[Side],
    objectives: &[Objective],
    late_ms_max: f64,
    memory_growth_max: f64,
) -> (Outcome, Vec<String>) {
    let (mut wrong, mut void, mut broken) = (Vec::new(), Vec::new(), Vec::new());
    for side in sides {
        let name = &side.name;
        let verdict = &side.verdict;
        let mut late = false;
        for phase in &side.phases {
            let at = &phase.name;
            let why = phase.void(late_ms_max);
            late |= why.is_some();
            let missing = if why.is_some() { &mut void } else { &mut wrong };
            missing.extend(phase.wrongs().into_iter().map(|what| format!("{name}, {at}: {what}")));
            void.extend(why.map(|why| format!("{name}, {at}: {why}")));
        }
        let counts = [
            ("lost", verdict.lost),
            ("duplicated", verdict.duplicated),
            ("reordered", verdict.reordered),
            ("corrupted", verdict.corrupted),
        ];
        for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            let kind = if late && what == "lost" { &mut void } else { &mut wrong };
            kind.push(format!("{name}: {count} deliveries {what}"));
        }
        for (law, count) in &verdict.laws {
            let kind = if late && law == IN_TIME { &mut void } else { &mut wrong };
            kind.push(format!("{name}: {law} x {count}"));
        }
        for over in side.overloads.iter().filter(|over| over.counts.untimed > 0) {
            let count = over.counts.untimed;
            wrong.push(format!("{name}, {}: {count} refused without a time", over.phase));
        }
        for grown in side.growth.iter().filter(|one| one.is_too_much(memory_growth_max)) {
            let kind = if grown.what == stress::MEMORY_BESIDE { &mut broken } else { &mut wrong };
            let (first, last) = (grown.first, grown.last);
            kind.push(format!("{name}: {} grew from {first} to {last}", grown.what));
        }
    }
    broken.extend(objectives.iter().filter(|objective| !objective.kept).map(
        |Objective { text, phase, stream, found, .. }| {
            format!("{text}: it was {} for `{stream}` in `{phase}`", time(*found))
        },
    ));
    if !wrong.is_empty() {
        (Outcome::Incorrect, wrong)
    } else if !void.is_empty() {
        (Outcome::Void, void)
    } else if !broken.is_empty() {
        (Outcome::Slo, broken)
    } else {
        (Outcome::Ok, Vec::new())
    }
}

/// The first side over each other one, phase by phase: the median of the repetitions.
fn ratios(sides: &[Side]) -> Vec<Ratio> {
    let Some((first, others)) = sides.split_first() else { return Vec::new() };
    let mut ratios = Vec::new();
    for other in others {
        let mut by_phase: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        let mut order = Vec::new();
        for (own, theirs) in first.phases.iter().zip(&other.phases) {
            let (Some(own_us), Some(theirs_us)) =
                (own.usage.server_us_per_delivery, theirs.usage.server_us_per_delivery)
            else {
                continue;
            };
            let all = by_phase.entry(&own.name).or_default();
            if all.is_empty() {
                order.push(own.name.as_str());
            }
            all.push(own_us / theirs_us);
        }
        for phase in order {
            let all = by_phase.remove(phase).unwrap_or_default();
            let Some((low, ratio, high)) = spread(&all) else { continue };
            ratios.push(Ratio {
                phase: phase.into(),
                of: first.name.clone(),
                by: other.name.clone(),
                ratio,
                spread: (low, high),
                repeats: all.len() as u32,
            });
        }
    }
    ratios
}

/// The least, the median and the greatest of values in any order.
pub fn spread(values: &[f64]) -> Option<(f64, f64, f64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some((*sorted.first()?, median(&sorted), *sorted.last()?))
}

/// The middle of sorted values; 0 of none.
fn median(sorted: &[f64]) -> f64 {
    match sorted {
        [] => 0.0,
        all if all.len() % 2 == 1 => all[all.len() / 2],
        all => (all[all.len() / 2 - 1] + all[all.len() / 2]) / 2.0,
    }
}

impl Host {
    /// This machine.
    pub fn read() -> Self {
        let uname = rustix::system::uname();
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model =
            cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
        let system =
            format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
        Self {
            system,
            processor: model.trim_start_matches([' ', '\t', ':']).into(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: host::memory_bytes("MemTotal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::{Counts, Usage, Verdict};
    use super::*;

    /// A side with one phase, of which 3 messages were not answered.
    fn side(own_busiest: f64, verdict: Verdict) -> Side {
        let counts = Counts { sent: 10, acked: 7, ..Counts::default() };
        let phase = Phase {
            name: "steady".into(),
            repeat: 1,
            seconds: 1.0,
            streams: vec![Stream { counts, ..Stream::default() }],
            usage: Usage { own_busiest, ..Usage::default() },
            ..Phase::default()
        };
        Side { phases: vec![phase], verdict, ..Side::default() }
    }

    fn outcome(own_busiest: f64, verdict: Verdict) -> Outcome {
        judge(&[side(own_busiest, verdict)], &[], 10.0, 0.02).0
    }

    #[test]
    fn what_did_not_come_in_time_is_wrong_unless_the_harness_was_late() {
        let missing = || Verdict {
            lost: 5,
            laws: [("NotReached".to_owned(), 2)].into(),
            ..Verdict::default()
        };
        assert_eq!(outcome(0.1, missing()), Outcome::Incorrect);
        assert_eq!(outcome(0.95, missing()), Outcome::Void);
    }

    #[test]
    fn what_came_wrong_is_wrong_however_late_the_harness_was() {
        let twice = || Verdict { duplicated: 1, ..Verdict::default() };
        let hole =
            || Verdict { laws: [("ReceiverHole".to_owned(), 1)].into(), ..Verdict::default() };
        assert_eq!(outcome(0.95, twice()), Outcome::Incorrect);
        assert_eq!(outcome(0.95, hole()), Outcome::Incorrect);
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!((median(&[]), median(&[3.0]), median(&[1.0, 2.0])), (0.0, 3.0, 1.5));
    }
}
