//! A scenario from beginning to end.

use super::RunError;
use super::live::Live;
use super::log::SecondLog;
use super::options::{Options, check_objectives};
use super::side::{Side, Turned, WARM_UP};
use super::target::Opponent;
use super::watch::Watch;
use crate::engine::poll::unix_ms;
use crate::report::model::Report;
use crate::report::overload::Overload;
use crate::report::stalled::Stalled;
use crate::report::stress::Growth;
use crate::report::verdict;
use crate::scenario::{Phase, Scenario};

/// Runs a scenario against one target, and the bare loop beside it if that is asked for.
///
/// # Errors
/// [`RunError`]: there is nothing to report.
pub fn run(options: &Options) -> Result<Report, RunError> {
    let scenario = options.read_scenario()?;
    let mut opponents = vec![opponent(options)?];
    if options.with_bare {
        opponents.push(Opponent::bare(&options.bare_fault, false)?);
    }
    run_against(options, &scenario, opponents)
}

/// The first target: the one that was named, the bare loop, or a server that is started now.
pub(super) fn opponent(options: &Options) -> Result<Opponent, RunError> {
    if options.bare {
        return Ok(Opponent::bare(&options.bare_fault, options.plain)?);
    }
    match (&options.url, &options.token_key) {
        (Some(url), Some(key)) => {
            let page = options.metrics.as_deref().map(Watch::page).transpose();
            let page = page.map_err(RunError::Usage)?;
            let process = options.pid.map(Watch::Process);
            let watch = process.or_else(|| page.clone()).unwrap_or(Watch::Nothing);
            let mut there = Opponent::there(url, key.clone(), watch)?;
            there.page = page;
            Ok(there)
        }
        _ => Ok(Opponent::damso(None)?),
    }
}

/// Runs a scenario against all of `opponents`, phase by phase in turn.
pub(super) fn run_against(
    options: &Options,
    scenario: &Scenario,
    opponents: Vec<Opponent>,
) -> Result<Report, RunError> {
    check_objectives(&options.slo, scenario)?;
    let stops = scenario.phase.iter().any(|phase| phase.stop.is_some());
    let in_hand = stops || scenario.run.server_share < 1.0;
    if let Some(other) = opponents.iter().find(|one| in_hand && one.pid().is_none()) {
        let name = &other.name;
        let what =
            format!("the scenario stops the server, and {name} is not one that this run started");
        return Err(RunError::Usage(what));
    }
    let run = unix_ms();
    let mut live = Live::new();
    let mut log = options.hlog.as_deref().map(SecondLog::begin).transpose()?;
    let mut sides = (0..)
        .zip(opponents)
        .map(|(number, one)| Side::start(options, scenario, (run, number), one, &mut live))
        .collect::<Result<Vec<Side>, RunError>>()?;
    for side in &mut sides {
        side.connect(&mut live)?;
        side.throttle(scenario.run.server_share);
    }
    warm_up(scenario, &mut sides, &mut live)?;
    let mut number = WARM_UP + 1;
    for repeat in 1..=scenario.run.repeat {
        for phase in &scenario.phases() {
            for side in &mut sides {
                let turned = turned(scenario, phase, number, repeat);
                let found = side.phase(scenario, &turned, &mut live, log.as_mut())?;
                side.report.phases.push(found);
            }
            number += 1;
        }
    }
    for side in &mut sides {
        side.judge(scenario.run.read_back, &mut live)?;
        side.report.growth = Growth::over(&side.report.phases);
        side.report.overloads = Overload::over(scenario, &side.report.phases);
        side.report.stalled = Stalled::over(&side.report.phases);
    }
    let reports = sides.iter_mut().map(|side| std::mem::take(&mut side.report)).collect();
    let basis = verdict::Basis {
        run,
        name: &options.scenario,
        scenario,
        slo: &options.slo,
        late_ms_max: options.late_ms_max,
    };
    Ok(verdict::report(&basis, reports))
}

/// A phase as `scenario` wants it.
pub(super) fn turned<'p>(
    scenario: &Scenario,
    phase: &'p Phase,
    number: u16,
    repeat: u32,
) -> Turned<'p> {
    Turned {
        phase,
        number,
        repeat,
        load: 1.0,
        // Each repetition plans something else, each side the same.
        seed: scenario.run.seed.wrapping_add(u64::from(repeat - 1) * 0x9e37_79b9),
        lead_seconds: scenario.run.lead_seconds,
        seconds: phase.seconds.unwrap_or(scenario.run.seconds),
        drain_seconds: scenario.run.drain_seconds,
    }
}

/// The first phase's traffic, without what befalls anybody: checked, not measured.
pub(super) fn warm_up(
    scenario: &Scenario,
    sides: &mut [Side],
    live: &mut Live,
) -> Result<(), RunError> {
    if scenario.run.warmup_seconds <= 0.0 || scenario.traffic.is_empty() {
        return Ok(());
    }
    let phases = scenario.phases();
    let first = phases.first().map_or(1.0, |phase| phase.load);
    let phase = Phase {
        seconds: Some(scenario.run.warmup_seconds),
        load: first,
        without: phases.first().map(|phase| phase.without.clone()).unwrap_or_default(),
        ..Phase::plain("warm-up")
    };
    for side in sides {
        let found = side.phase(scenario, &turned(scenario, &phase, WARM_UP, 1), live, None)?;
        // A connection that was lost here is wrong, too, and would be forgotten with the phase.
        if found.lost > 0 {
            return Err(RunError::Usage(format!(
                "{}: {} connections were lost while warming up: {}",
                side.report.name,
                found.lost,
                found.closings.join("; ")
            )));
        }
    }
    Ok(())
}
