//! From what was found to what it means: outcome, reasons, objectives, ratios.

use std::collections::BTreeMap;

use super::model::{
    Host, Measure, Objective, Outcome, Phase, REPORT_VERSION, Ratio, Report, Side, Stream,
};
use super::text::time;
use crate::figures::Summary;
use crate::scenario::Scenario;
use crate::slo::Objectives;

/// A worker that is busier than this is what was measured, not the server. Share of a core.
pub const OWN_BUSY_MAX: f64 = 0.9;

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
    let (outcome, reasons) = judge(&sides, &objectives, basis.late_ms_max);
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
        let busy = self.usage.own_busiest;
        (busy > OWN_BUSY_MAX).then(|| format!("a worker was busy for {:.0} %", busy * 100.0))
    }

    /// What is wrong with it, one line each.
    fn wrongs(&self) -> Vec<String> {
        let mut wrongs = Vec::new();
        if self.lost > 0 {
            wrongs.push(format!("{} connections lost: {}", self.lost, self.closings.join("; ")));
        }
        for Stream { name, counts, op, .. } in &self.streams {
            // Where connections break by scenario, whole channels may be away.
            if counts.unsent > 0 && self.resets + self.slow == 0 {
                wrongs.push(format!("{} of `{name}` unsent: nobody was there", counts.unsent));
            }
            let refused: u64 = counts.refused.values().sum();
            let unanswered = counts.sent.saturating_sub(counts.acked + refused);
            let acks = counts.acked > 0 || op == "history";
            if unanswered > 0 && acks && (op == "send" || self.resets + self.slow == 0) {
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
                let op = if objective.measure == Measure::Page { "history" } else { "send" };
                if stream.op == op && objective.is_about(&stream.name) {
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

/// The outcome and its reasons. What is wrong stays wrong in a late run; how fast it was does not.
fn judge(sides: &[Side], objectives: &[Objective], late_ms_max: f64) -> (Outcome, Vec<String>) {
    let (mut wrong, mut void) = (Vec::new(), Vec::new());
    for side in sides {
        let name = &side.name;
        let verdict = &side.verdict;
        let counts = [
            ("lost", verdict.lost),
            ("duplicated", verdict.duplicated),
            ("reordered", verdict.reordered),
            ("corrupted", verdict.corrupted),
        ];
        for (what, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            wrong.push(format!("{name}: {count} deliveries {what}"));
        }
        for (law, count) in &verdict.laws {
            wrong.push(format!("{name}: {law} x {count}"));
        }
        for phase in &side.phases {
            let at = &phase.name;
            wrong.extend(phase.wrongs().into_iter().map(|what| format!("{name}, {at}: {what}")));
            void.extend(phase.void(late_ms_max).map(|why| format!("{name}, {at}: {why}")));
        }
    }
    let broken: Vec<String> = objectives
        .iter()
        .filter(|objective| !objective.kept)
        .map(|Objective { text, phase, stream, found, .. }| {
            format!("{text}: it was {} for `{stream}` in `{phase}`", time(*found))
        })
        .collect();
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
            let mut all = by_phase.remove(phase).unwrap_or_default();
            all.sort_by(f64::total_cmp);
            ratios.push(Ratio {
                phase: phase.into(),
                of: first.name.clone(),
                by: other.name.clone(),
                ratio: median(&all),
                spread: (all[0], all[all.len() - 1]),
                repeats: all.len() as u32,
            });
        }
    }
    ratios
}

/// The middle of sorted values; 0 of none.
pub fn median(sorted: &[f64]) -> f64 {
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
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kilobytes = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
        let kilobytes: u64 = kilobytes
            .and_then(|line| line.split_whitespace().next()?.parse().ok())
            .unwrap_or_default();
        let system =
            format!("{} {}", uname.sysname().to_string_lossy(), uname.release().to_string_lossy());
        Self {
            system,
            processor: model.trim_start_matches([' ', '\t', ':']).into(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: kilobytes * 1024,
        }
    }
}
