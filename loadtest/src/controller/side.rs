//! One target with its workers, through all that is done with it.

use std::cell::RefCell;
use std::time::Instant;

use super::RunError;
use super::crew::{Crew, Turn};
use super::gather::Gather;
use super::live::Live;
use super::log::SecondLog;
use super::options::Options;
use super::preflight::{self, Plan};
use super::rest;
use super::samples::{Samples, usage};
use super::stall::Stall;
use super::stop::{self, Stopping};
use super::target::Opponent;
use super::throttle::Throttle;
use crate::engine::poll::now_ns;
use crate::figures::Latencies;
use crate::report::model::{self, Counts, Stream, Verdict};
use crate::report::stress::{Stop, Visits};
use crate::scenario::layout::Class;
use crate::scenario::{self, Members, Phase, Scenario};
use crate::worker::order::{
    Config, Connected, FillOrder, Order, PhaseOrder, Ran, Report, StreamOrder,
};

/// From giving the order to the start of a phase: every worker has planned it by then.
const LEAD_NS: u64 = 500_000_000;
/// The phase number of the warm-up is this one; others follow.
pub(super) const WARM_UP: u16 = 0;

/// See the module.
pub(super) struct Side {
    opponent: Opponent,
    crew: Crew,
    /// Channels of each class that each worker has.
    shares: Vec<Vec<Class>>,
    /// Holds the server back while it is there.
    throttle: Option<Throttle>,
    pub(super) report: model::Side,
}

/// Which phase, and how.
pub(super) struct Turned<'p> {
    pub(super) phase: &'p Phase,
    pub(super) number: u16,
    pub(super) repeat: u32,
    /// All rates are multiplied by this, beside the phase's own.
    pub(super) load: f64,
    pub(super) seed: u64,
    pub(super) lead_seconds: f64,
    /// Measured, after the lead.
    pub(super) seconds: f64,
    pub(super) drain_seconds: f64,
}

impl Side {
    /// Starts the workers for target `number` of run `run`.
    pub(super) fn start(
        options: &Options,
        scenario: &Scenario,
        (run, number): (u64, u32),
        opponent: Opponent,
        live: &mut Live,
    ) -> Result<Self, RunError> {
        let connections = scenario.people.connections;
        let workers = connections.div_ceil(options.per_worker).max(1);
        let many_sources = opponent.source(run, number, 0).is_some();
        let plan = Plan { connections, workers, address: opponent.address, many_sources };
        let found = preflight::look(&plan);
        live.milestone(&format!("{}: {}", opponent.name, found.text));
        if !found.impossible.is_empty() {
            return Err(RunError::Usage(found.impossible.join("\n")));
        }
        fit(scenario, workers)?;
        let share = |all: u32, worker: u32| all / workers + u32::from(worker < all % workers);
        let configs: Vec<Config> = (0..workers)
            .map(|worker| {
                let people = share(connections, worker);
                Config {
                    target: opponent.aim.clone(),
                    run,
                    worker,
                    people,
                    classes: classes(scenario, people, |all| share(all, worker)),
                    connect_per_second: scenario.people.connect_per_second / f64::from(workers),
                    opening_max: (opponent.backlog / workers as usize).max(1),
                    source: opponent.source(run, number, worker),
                    spin: options.spin,
                    check: true,
                }
            })
            .collect();
        Self::with(opponent, configs)
    }

    /// Starts the workers of these configurations.
    pub(super) fn with(opponent: Opponent, configs: Vec<Config>) -> Result<Self, RunError> {
        let name = opponent.name.clone();
        let crew =
            Crew::start(&configs).map_err(|cause| RunError::Crew { side: name.clone(), cause })?;
        let mut report = model::Side {
            name,
            guarantees: opponent.guarantees.clone(),
            workers: configs.len() as u32,
            ..model::Side::default()
        };
        report.ramp.connections = configs.iter().map(|config| config.people).sum();
        report.ramp.server[0] = opponent.watch.read();
        let shares = configs.into_iter().map(|config| config.classes).collect();
        Ok(Self { opponent, crew, shares, throttle: None, report })
    }

    fn failed(&self, cause: super::crew::CrewError) -> RunError {
        RunError::Crew { side: self.report.name.clone(), cause }
    }

    /// Connects everyone and makes all channels.
    pub(super) fn connect(&mut self, live: &mut Live) -> Result<(), RunError> {
        let name = &self.report.name;
        live.milestone(&format!("{name}: connecting {} ...", self.report.ramp.connections));
        let overflows = preflight::listen_overflows();
        let connected = self
            .crew
            .same(&Order::Connect, |report| match report {
                Report::Connected(connected) => Turn::End(*connected),
                _ => Turn::Other,
            })
            .map_err(|cause| self.failed(cause))?;
        let ramp = &mut self.report.ramp;
        let mut sum = Connected::default();
        for part in &connected {
            sum.login.merge(&part.login);
            sum.handshake.merge(&part.handshake);
            sum.seconds = sum.seconds.max(part.seconds);
            ramp.own_bytes.0 += part.own.0.resident_bytes;
            ramp.own_bytes.1 += part.own.1.resident_bytes;
        }
        ramp.login = sum.login.summary();
        ramp.handshake = sum.handshake.summary();
        ramp.seconds = sum.seconds;
        ramp.listen_overflows = preflight::listen_overflows().saturating_sub(overflows);
        ramp.server[1] = self.opponent.watch.read();
        let channels: u32 = self.shares.iter().flatten().map(|class| class.count).sum();
        live.milestone(&format!("{}: making {channels} channels ...", self.report.name));
        let seconds = self
            .crew
            .same(&Order::SetUp, |report| match report {
                Report::SetUp { seconds } => Turn::End(seconds),
                _ => Turn::Other,
            })
            .map_err(|cause| self.failed(cause))?;
        self.report.ramp.set_up_seconds = seconds.into_iter().fold(0.0, f64::max);
        self.report.ramp.server[2] = self.opponent.watch.read();
        Ok(())
    }

    /// Lets the server run for this share of the time only, until it is judged.
    pub(super) fn throttle(&mut self, share: f64) {
        let pid = self.opponent.pid().filter(|_| share < 1.0);
        self.throttle = pid.and_then(|pid| Throttle::start(pid, share));
    }

    /// Runs one phase and returns what came of it.
    pub(super) fn phase(
        &mut self,
        scenario: &Scenario,
        turned: &Turned<'_>,
        live: &mut Live,
        log: Option<&mut SecondLog>,
    ) -> Result<model::Phase, RunError> {
        let Turned { phase, repeat, lead_seconds, .. } = *turned;
        let seconds = lead_seconds + turned.seconds;
        let what = format!("{}: {}", self.report.name, phase.name);
        live.milestone(&format!("{what}, {seconds:.0} s ..."));
        let names: Vec<String> = scenario.traffic.iter().map(|t| t.name.clone()).collect();
        let mut log = log;
        if let Some(log) = &mut log {
            log.phase(&format!("{}/{}/{repeat}", self.report.name, phase.name), &names);
        }
        let start_ns = now_ns() + LEAD_NS;
        let orders: Vec<Order> = (0..self.crew.len())
            .map(|worker| Order::Run(self.order(scenario, turned, worker, start_ns)))
            .collect();
        let mut samples = Samples::new(start_ns, seconds, &self.opponent);
        let stall = scenario.stalls().then(|| Stall::new(start_ns, turned, &self.opponent));
        let stall = RefCell::new(stall);
        let mut gather = Gather::new(self.crew.len(), log.as_deref_mut());
        let stopping = phase.stop.zip(self.opponent.pid()).map(|(stop, pid)| {
            let offset_ns = ((lead_seconds + stop.at_seconds) * 1e9) as u64;
            Stopping::at(start_ns + offset_ns, pid)
        });
        let ran = self.crew.all(
            &orders,
            || {
                samples.take_due();
                stall.borrow_mut().iter_mut().for_each(Stall::look_if_due);
            },
            |worker, report| match report {
                Report::Stalled(addresses) => {
                    let mut stall = stall.borrow_mut();
                    stall.iter_mut().for_each(|stall| stall.peers.extend(&addresses));
                    Turn::Step
                }
                Report::Second(second) => {
                    if gather.take(worker, *second) > 0
                        && let Some(second) = gather.series.last()
                    {
                        live.second(&what, seconds, second);
                    }
                    Turn::Step
                }
                Report::Ran(ran) => Turn::End(*ran),
                _ => Turn::Other,
            },
        );
        let ran = ran.map_err(|cause| self.failed(cause))?;
        samples.end();
        gather.finish();
        samples.fill_in(&mut gather.series);
        let mut found = self.found(scenario, turned, (&ran, &gather), &samples);
        drop(gather);
        if let Some(log) = log {
            log.flush()?;
        }
        live.milestone(&format!("{what}: {}", found.headline()));
        found.held = stall.into_inner().and_then(Stall::found);
        if let Some(stopping) = stopping {
            found.stop = Some(self.start_again(stopping, &ran, live)?);
        }
        if phase.visits.is_some() {
            live.milestone(&format!("{what}: waiting until the server is at rest ..."));
            let earlier = self.report.phases.iter().find_map(|phase| phase.rest.as_ref());
            found.rest = Some(rest::at_rest(&self.opponent, earlier));
        }
        Ok(found)
    }

    /// Waits until the server has ended, starts it again, and lets everyone come back.
    fn start_again(
        &mut self,
        stopping: Stopping,
        ran: &[Ran],
        live: &mut Live,
    ) -> Result<Stop, RunError> {
        let name = self.report.name.clone();
        live.milestone(&format!("{name}: waiting for its end, and starting it again ..."));
        let mut stop = stop::heard(ran);
        stop.exit_seconds = stopping.wait();
        let started = Instant::now();
        stop.exit_code = self.opponent.start_again()?;
        stop.start_seconds = started.elapsed().as_secs_f64();
        let url = self.opponent.url().to_owned();
        let back = self.crew.same(&Order::Move { url }, |report| match report {
            Report::Moved { seconds } => Turn::End(seconds),
            _ => Turn::Other,
        });
        let back = back.map_err(|cause| self.failed(cause))?;
        stop.back_seconds = back.into_iter().fold(0.0, f64::max);
        Ok(stop)
    }

    /// Waits until the server is at rest: what a store still does for the load before is not this
    /// one's.
    pub(super) fn settle(&self) {
        rest::settle(&self.opponent.watch);
    }

    fn order(
        &self,
        scenario: &Scenario,
        turned: &Turned<'_>,
        worker: usize,
        start_ns: u64,
    ) -> PhaseOrder {
        let Turned { phase, number, load, seed, lead_seconds, drain_seconds, .. } = *turned;
        let seconds = lead_seconds + turned.seconds;
        let streams = scenario.traffic.iter().map(|traffic| {
            let class = scenario.channels.iter().position(|c| c.name == traffic.channels)?;
            let all: u32 = self.shares.iter().map(|share| share[class].count).sum();
            let own = self.shares[worker][class].count;
            if own == 0 || phase.without.contains(&traffic.name) {
                return None;
            }
            let mut traffic = traffic.clone();
            traffic.rate *= load * phase.load * f64::from(own) / f64::from(all);
            Some(StreamOrder { traffic, class })
        });
        PhaseOrder {
            number,
            streams: streams.collect(),
            seconds,
            lead_seconds,
            drain_seconds,
            start_ns,
            seed: seed ^ (worker as u64).rotate_left(48) ^ u64::from(number) << 32,
            storm: phase.storm,
            churn_per_minute: phase.churn_per_minute,
            slow: phase.slow,
            visits: phase.visits.map(|visits| scenario::Visits {
                per_second: visits.per_second / self.crew.len() as f64,
                ..visits
            }),
            stop: phase.stop,
        }
    }

    fn found(
        &self,
        scenario: &Scenario,
        turned: &Turned<'_>,
        (ran, gather): (&[Ran], &Gather<'_>),
        samples: &Samples<'_>,
    ) -> model::Phase {
        let Turned { phase, repeat, load, lead_seconds, .. } = *turned;
        // One that stops the server is over when nobody is connected any more.
        let took = ran.iter().map(|part| part.seconds).fold(0.0, f64::max);
        let seconds = took.min(lead_seconds + turned.seconds);
        let mut streams = Vec::new();
        for (at, traffic) in scenario.traffic.iter().enumerate() {
            if phase.without.contains(&traffic.name) {
                continue;
            }
            let mut counts = Counts::default();
            ran.iter().for_each(|part| counts.merge(&part.counts[at]));
            streams.push(Stream {
                name: traffic.name.clone(),
                op: traffic.op,
                asked: traffic.rate * load * phase.load,
                achieved: counts.acked as f64 / seconds,
                counts,
                latencies: gather.measured(at as u16),
            });
        }
        let mut again = Latencies::default();
        let mut resume = Latencies::default();
        for part in ran {
            again.merge(&part.again);
            resume.merge(&part.resume);
        }
        let sum = |of: fn(&Ran) -> u64| ran.iter().map(of).sum::<u64>();
        let mut visits: Option<Visits> = None;
        for part in ran.iter().filter_map(|part| part.visits.as_ref()) {
            visits.get_or_insert_default().merge(part);
        }
        let again_seconds = |share| again.at(share) as f64 / 1e6;
        let shares = [0.5, 0.95, 0.99, 1.0];
        model::Phase {
            name: phase.name.clone(),
            repeat,
            seconds: took,
            usage: usage(&streams, ran, samples),
            streams,
            lost: sum(|part| part.lost),
            closings: ran.iter().flat_map(|part| part.closings.clone()).collect(),
            resets: sum(|part| part.resets),
            resume: resume.summary(),
            live_again_seconds: if again.is_empty() { [0.0; 4] } else { shares.map(again_seconds) },
            slow: sum(|part| part.slow.0),
            slow_cut: sum(|part| part.slow.1),
            visits,
            rest: None,
            held: None,
            stop: None,
            series: gather.series.clone(),
        }
    }

    /// Fills the target's store; calls `told` with how many messages are there.
    pub(super) fn fill(
        &mut self,
        orders: &[FillOrder],
        mut told: impl FnMut(u64, u64),
    ) -> Result<(u64, u64), RunError> {
        let orders: Vec<Order> = orders.iter().map(|order| Order::Fill(*order)).collect();
        let mut parts = vec![(0, 0); orders.len()];
        let filled = self.crew.all(
            &orders,
            || {},
            |worker, report| match report {
                Report::Filled { messages, refused, done } => {
                    parts[worker] = (messages, refused);
                    let all = parts.iter().fold((0, 0), |sum, p| (sum.0 + p.0, sum.1 + p.1));
                    told(all.0, all.1);
                    if done { Turn::End((messages, refused)) } else { Turn::Step }
                }
                _ => Turn::Other,
            },
        );
        let filled = filled.map_err(|cause| self.failed(cause))?;
        Ok(filled.iter().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1)))
    }

    /// Reads history back, and judges.
    pub(super) fn judge(&mut self, history: bool, live: &mut Live) -> Result<(), RunError> {
        self.throttle = None;
        if history {
            live.milestone(&format!("{}: reading back what it keeps ...", self.report.name));
        }
        let parts = self
            .crew
            .same(&Order::Judge { history }, |report| match report {
                Report::Judged(judged) => Turn::End(judged),
                _ => Turn::Other,
            })
            .map_err(|cause| self.failed(cause))?;
        let mut all = Verdict { passed: true, ..Verdict::default() };
        for (worker, part) in parts.into_iter().enumerate() {
            all.passed &= part.passed;
            all.lost += part.lost;
            all.duplicated += part.duplicated;
            all.reordered += part.reordered;
            all.corrupted += part.corrupted;
            all.witnesses.extend(part.witnesses);
            all.checker.push_str(&format!("worker {worker}: {}", part.checker));
            for (law, count) in part.laws {
                *all.laws.entry(law).or_default() += count;
            }
            all.channels_read += part.channels_read;
            all.rows_read += part.rows_read;
        }
        self.report.ramp.server[3] = self.opponent.watch.read();
        self.report.verdict = all;
        Ok(())
    }
}

/// A channel lives in one worker with all its members: refuses one that does not fit.
fn fit(scenario: &Scenario, workers: u32) -> Result<(), RunError> {
    let least = scenario.people.connections / workers;
    for class in &scenario.channels {
        let name = &class.name;
        let why = match class.members {
            Members::Count(members) if members > least => {
                format!("has {members} members, and a worker has {least} people")
            }
            Members::All if class.count < workers => {
                format!("is for everybody of a worker, and there are {workers} workers")
            }
            _ => continue,
        };
        return Err(RunError::Usage(format!(
            "a channel lives in one worker; `{name}` {why}: raise --per-worker"
        )));
    }
    Ok(())
}

/// A worker's part of the scenario's channels. Channels of everybody are whole in each worker.
pub(super) fn classes(scenario: &Scenario, people: u32, share: impl Fn(u32) -> u32) -> Vec<Class> {
    let class = |class: &crate::scenario::Channels| Class {
        count: share(class.count),
        members: match class.members {
            Members::Count(members) => members,
            Members::All => people,
        },
        kind: class.kind,
    };
    scenario.channels.iter().map(class).collect()
}
