//! `saturate`: the highest load that a target carries within its objectives.
//!
//! ```text
//! load 1 -> x step -> x step ... until it breaks -> bisect -> confirm for longer, or step down
//!
//! a load holds      objectives kept, everything answered and delivered, nothing piles up
//!        breaks     twice in a row: a neighbour's hiccup is no limit
//!        is void    it broke while the harness was late: whose limit that was, nobody knows
//! ```
//!
//! Before each load the server comes to rest: compaction that an earlier load left behind would
//! make the answer depend on the way to it.

use clap::Args;

use super::RunError;
use super::live::Live;
use super::options::{Options, check_objectives};
use super::run::{opponent, turned, warm_up};
use super::side::{Side, Turned, WARM_UP};
use crate::engine::poll::unix_ms;
use crate::report::model::{Measure, Outcome, Phase, Report, Saturation, Step, StepVerdict};
use crate::report::text::time;
use crate::report::verdict;
use crate::scenario::Scenario;
use crate::slo::Objectives;

/// What holds where nobody says otherwise: people do not notice it yet.
const SLO_DEFAULT: &str = "ack.p99<100ms,last.p99<200ms";
/// Work is piling up when the last delivery comes so long after the last send, seconds.
const TAIL_SECONDS_MAX: f64 = 1.0;
/// A worker that is busier is near its own limit. Share of a core.
const OWN_BUSY_MAX: f64 = 0.85;
/// Confirmations that may fail, each at a lower load, before the search gives up.
const CONFIRMS_MAX: u32 = 5;

/// Options of `saturate`.
#[derive(Args, Clone, Debug)]
pub struct SaturateOptions {
    /// Factor from one load to the next
    #[arg(long, default_value_t = 1.25, help_heading = "Search")]
    pub step: f64,
    /// How long each load is held
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS", help_heading = "Search")]
    pub hold: f64,
    /// How long the highest one is confirmed
    #[arg(long, default_value_t = 20.0, value_name = "SECONDS", help_heading = "Search")]
    pub confirm: f64,
    /// The search ends when broken and held are this near to each other
    #[arg(long, default_value_t = 0.05, value_name = "SHARE", help_heading = "Search")]
    pub precision: f64,
    /// Highest multiple of the scenario's rates that is tried
    #[arg(long, default_value_t = 1_000.0, value_name = "FACTOR", help_heading = "Search")]
    pub max_load: f64,
    /// The run
    #[command(flatten)]
    pub options: Options,
}

/// Finds the limit.
///
/// # Errors
/// [`RunError`]: there is nothing to report.
pub fn saturate(options: &SaturateOptions) -> Result<Report, RunError> {
    let positive = |n: f64| n.is_finite() && n > 0.0;
    if !positive(options.step - 1.0)
        || ![options.hold, options.confirm, options.precision, options.max_load]
            .into_iter()
            .all(positive)
    {
        let what = "--step must be above 1; --hold, --confirm, --precision, --max-load above 0";
        return Err(RunError::Usage(what.into()));
    }
    let mut run = options.options.clone();
    if run.slo.0.is_empty() {
        run.slo = SLO_DEFAULT.parse().map_err(RunError::Usage)?;
    }
    let scenario = run.read_scenario()?;
    if scenario.traffic.is_empty() {
        return Err(RunError::Usage("the scenario has no traffic to raise".into()));
    }
    check_objectives(&run.slo, &scenario)?;
    let mut search = Search::start(options, run, scenario)?;
    let saturation = search.find()?;
    search.report(saturation)
}

struct Search<'o> {
    options: &'o SaturateOptions,
    run: Options,
    scenario: Scenario,
    phase: crate::scenario::Phase,
    side: Side,
    live: Live,
    number: u16,
    steps: Vec<Step>,
    id: u64,
}

impl<'o> Search<'o> {
    fn start(
        options: &'o SaturateOptions,
        run: Options,
        scenario: Scenario,
    ) -> Result<Self, RunError> {
        let id = unix_ms();
        let mut live = Live::new();
        let mut side = Side::start(&run, &scenario, (id, 0), opponent(&run)?, &mut live)?;
        side.connect(&mut live)?;
        side.throttle(scenario.run.server_share);
        warm_up(&scenario, std::slice::from_mut(&mut side), &mut live)?;
        // The last phase is the one in which everything runs.
        let phases = scenario.phases();
        let phase = phases[phases.len() - 1].clone();
        let (number, steps) = (WARM_UP + 1, Vec::new());
        Ok(Self { options, run, scenario, phase, side, live, number, steps, id })
    }

    fn find(&mut self) -> Result<Saturation, RunError> {
        let (mut held, mut broken): (Option<f64>, Option<(f64, StepVerdict)>) = (None, None);
        let mut load = 1.0;
        while broken.is_none() && load <= self.options.max_load {
            match self.try_load(load, self.options.hold)? {
                StepVerdict::Held => {
                    held = Some(load);
                    load *= self.options.step;
                }
                verdict => broken = Some((load, verdict)),
            }
        }
        while let (Some(low), Some((high, _))) = (held, broken)
            && high / low > 1.0 + self.options.precision
        {
            let middle = (low * high).sqrt();
            match self.try_load(middle, self.options.hold)? {
                StepVerdict::Held => held = Some(middle),
                verdict => broken = Some((middle, verdict)),
            }
        }
        let mut confirmed = None;
        let mut tries = 0;
        while let Some(load) = held
            && confirmed.is_none()
            && tries < CONFIRMS_MAX
        {
            tries += 1;
            match self.try_load(load, self.options.confirm)? {
                StepVerdict::Held => confirmed = Some(load),
                verdict => {
                    broken = Some((load, verdict));
                    held = Some(load / (1.0 + self.options.precision));
                }
            }
        }
        Ok(self.saturation(confirmed, broken.map(|(_, verdict)| verdict)))
    }

    fn saturation(&self, load: Option<f64>, broken: Option<StepVerdict>) -> Saturation {
        let at = load.and_then(|load| {
            self.steps.iter().rev().find(|s| s.load == load && s.verdict == StepVerdict::Held)
        });
        Saturation {
            load,
            offered: at.map_or(0.0, |step| step.offered),
            achieved: at.map_or(0.0, |step| step.achieved),
            slo: self.run.slo.to_string(),
            bound: match broken {
                None => "the highest load that was tried".into(),
                Some(StepVerdict::HarnessBound) => {
                    "harness-bound: the harness was late, the target may carry more".into()
                }
                Some(_) => "the target".into(),
            },
            steps: self.steps.clone(),
        }
    }

    /// Runs one load, twice if it breaks.
    fn try_load(&mut self, load: f64, seconds: f64) -> Result<StepVerdict, RunError> {
        let first = self.run_load(load, seconds)?;
        if first == StepVerdict::Held { Ok(first) } else { self.run_load(load, seconds) }
    }

    fn run_load(&mut self, load: f64, seconds: f64) -> Result<StepVerdict, RunError> {
        let name = format!("load {load:.2}");
        let phase = crate::scenario::Phase { name, ..self.phase.clone() };
        let plain = turned(&self.scenario, &phase, self.number, 1);
        let turned = Turned { load, seconds, ..plain };
        self.side.settle();
        let found = self.side.phase(&self.scenario, &turned, &mut self.live, None)?;
        self.number += 1;
        let (verdict, why) = judge(&found, &self.run.slo, seconds, self.run.late_ms_max);
        self.live.milestone(&format!("  load {load:.2}: {}{why}", verdict.text()));
        self.steps.push(step(load, &found, verdict, why));
        self.side.report.phases.push(found);
        Ok(verdict)
    }

    fn report(mut self, saturation: Saturation) -> Result<Report, RunError> {
        self.side.judge(self.scenario.run.read_back, &mut self.live)?;
        let side = std::mem::take(&mut self.side.report);
        let basis = verdict::Basis {
            run: self.id,
            name: &self.run.scenario,
            scenario: &self.scenario,
            // Loads that break are what was looked for.
            slo: &Objectives::default(),
            late_ms_max: f64::INFINITY,
        };
        let wrong = !side.verdict.passed;
        let mut report = verdict::report(&basis, vec![side]);
        let harness = saturation.bound.starts_with("harness");
        (report.outcome, report.reasons) = match saturation.load {
            _ if wrong => (Outcome::Incorrect, report.reasons),
            Some(_) => (Outcome::Ok, Vec::new()),
            None if harness => (Outcome::Void, vec!["the harness was late at every load".into()]),
            None => (Outcome::Slo, vec!["not even the lowest load held".into()]),
        };
        report.saturation = Some(saturation);
        Ok(report)
    }
}

/// Whether a load held, and why not.
fn judge(phase: &Phase, slo: &Objectives, seconds: f64, late_ms_max: f64) -> (StepVerdict, String) {
    let mut whys = Vec::new();
    for stream in &phase.streams {
        for objective in slo.0.iter().filter(|o| o.is_about(&stream.name, stream.op)) {
            let (found, kept) = objective.check(&stream.summary(objective.measure));
            if !kept {
                whys.push(format!("{objective} was {}", time(found)));
            }
        }
        let counts = &stream.counts;
        let refused = counts.refusals();
        let missing = counts.expected.saturating_sub(counts.delivered + counts.caught_up);
        // One in a thousand is the limit: less may be a connection that broke.
        if (refused + counts.unsent) * 1_000 > counts.planned || missing * 1_000 > counts.expected {
            whys.push(format!(
                "{refused} refused, {} unsent, {missing} deliveries missing",
                counts.unsent
            ));
        }
    }
    if phase.lost > 0 {
        whys.push(format!("{} connections lost", phase.lost));
    }
    if phase.seconds - seconds > TAIL_SECONDS_MAX {
        whys.push(format!("work piled up: {:.1} s of it were left", phase.seconds - seconds));
    }
    if whys.is_empty() {
        return (StepVerdict::Held, String::new());
    }
    let late = phase.void(late_ms_max).or_else(|| {
        let busy = phase.usage.own_busiest;
        (busy > OWN_BUSY_MAX).then(|| format!("a worker was busy for {:.0} %", busy * 100.0))
    });
    match late {
        Some(late) => (StepVerdict::HarnessBound, format!(": {}; {late}", whys.join("; "))),
        None => (StepVerdict::Broke, format!(": {}", whys.join("; "))),
    }
}

fn step(load: f64, phase: &Phase, verdict: StepVerdict, why: String) -> Step {
    let worst =
        |measure: Measure| phase.streams.iter().map(|s| s.summary(measure).p99).max().unwrap_or(0);
    Step {
        load,
        offered: phase.streams.iter().map(|stream| stream.asked).sum(),
        achieved: phase.streams.iter().map(|stream| stream.achieved).sum(),
        ack_p99: worst(Measure::Ack),
        last_p99: worst(Measure::Last),
        lateness_p99: worst(Measure::Lateness),
        server_busy: phase.usage.server_busy,
        machine_busy: phase.usage.machine_busy,
        verdict,
        why: why.trim_start_matches(": ").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Summary;
    use crate::report::model::{Counts, Measured, Stream, Usage};

    fn phase(ack_p99: u64, lateness_p99: u64, delivered: u64) -> Phase {
        let measured = |measure, p99| Measured {
            measure,
            summary: Summary { count: 1, p50: 1, p99, p999: p99, max: p99 },
            curve: Vec::new(),
            histogram: crate::figures::Latencies::default(),
        };
        let counts = Counts { planned: 100, expected: 1_000, delivered, ..Counts::default() };
        let latencies =
            vec![measured(Measure::Ack, ack_p99), measured(Measure::Lateness, lateness_p99)];
        let stream = Stream { name: "talk".into(), counts, latencies, ..Stream::default() };
        Phase {
            name: "load".into(),
            repeat: 1,
            seconds: 10.1,
            streams: vec![stream],
            ..Phase::default()
        }
    }

    #[test]
    fn a_load_holds_or_breaks_or_is_the_harness_own_limit() {
        let slo: Objectives = "ack.p99<50ms".parse().unwrap();
        let verdict = |phase: &Phase| judge(phase, &slo, 10.0, 10.0).0;
        assert_eq!(verdict(&phase(49_000, 100, 1_000)), StepVerdict::Held);
        // Late, but still within the objective: that holds for the target all the more.
        assert_eq!(verdict(&phase(49_000, 20_000, 1_000)), StepVerdict::Held);
        assert_eq!(verdict(&phase(51_000, 100, 1_000)), StepVerdict::Broke);
        assert_eq!(verdict(&phase(51_000, 20_000, 1_000)), StepVerdict::HarnessBound);
        assert_eq!(verdict(&phase(49_000, 100, 998)), StepVerdict::Broke);
        assert_eq!(verdict(&phase(49_000, 100, 999)), StepVerdict::Held);
        let piled = Phase { seconds: 11.5, ..phase(1, 1, 1_000) };
        assert_eq!(verdict(&piled), StepVerdict::Broke);
        let busy = Usage { own_busiest: 0.86, ..Usage::default() };
        let busy = Phase { usage: busy, ..phase(51_000, 1, 1_000) };
        assert_eq!(verdict(&busy), StepVerdict::HarnessBound);
    }
}
