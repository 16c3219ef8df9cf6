//! A report with a bit of everything, made up: two targets, three phases, two kinds of traffic.

use std::collections::BTreeMap;

use damso_loadtest::figures::{Latencies, Summary};
use damso_loadtest::host::Process;
use damso_loadtest::report::model::{
    Counts, Host, Measure, Measured, Objective, Outcome, Phase, REPORT_VERSION, Ramp, Ratio,
    Report, Saturation, Second, Side, Step, StepVerdict, Stream, Usage, Verdict, Witness,
};
use damso_loadtest::report::text::time;
use damso_loadtest::scenario::Op;

const CONNECTIONS: u32 = 10_000;
const MEMBERS: u64 = 10;
const MIB: u64 = 1 << 20;

/// Dice that fall the same way each time, 0-1.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as f64 / f64::from(1_u32 << 31)
    }

    /// A latency as networks have them: mostly near `us`, seldom far above.
    fn latency(&mut self, us: f64) -> u64 {
        let near: f64 = (0..6).map(|_| self.roll()).sum::<f64>() / 3.0;
        (us * near * (1.0 + 0.05 / (1.0 - self.roll()).powf(0.45))) as u64 + 1
    }
}

/// Sorted latencies.
fn latencies(dice: &mut Dice, us: f64, count: usize) -> Vec<u64> {
    let mut all: Vec<u64> = (0..count).map(|_| dice.latency(us)).collect();
    all.sort_unstable();
    all
}

fn at(sorted: &[u64], share: f64) -> u64 {
    sorted[((sorted.len() as f64 * share) as usize).min(sorted.len() - 1)]
}

fn summary(sorted: &[u64]) -> Summary {
    let p = |share| at(sorted, share);
    Summary { count: sorted.len() as u64, p50: p(0.5), p99: p(0.99), p999: p(0.999), max: p(1.0) }
}

fn measured(measure: Measure, sorted: &[u64]) -> Measured {
    let mut histogram = Latencies::default();
    sorted.iter().for_each(|us| histogram.record_ns(us * 1_000));
    let beyond = (1..).map(|step| 2_f64.powf(f64::from(step) / 4.0));
    let mut curve: Vec<(f64, u64)> = beyond
        .skip(3)
        .take_while(|beyond| *beyond < sorted.len() as f64)
        .map(|beyond| (1.0 - 1.0 / beyond, at(sorted, 1.0 - 1.0 / beyond)))
        .collect();
    curve.push((1.0, at(sorted, 1.0)));
    Measured { measure, summary: summary(sorted), curve, histogram }
}

fn chat(dice: &mut Dice, rate: f64, seconds: u32, us: f64) -> Stream {
    let sent = (rate * f64::from(seconds)) as u64;
    let mut of = |measure, us: f64| measured(measure, &latencies(dice, us, 30_000));
    Stream {
        name: "chat".into(),
        op: Op::Send,
        asked: rate,
        achieved: rate * 0.9993,
        counts: Counts {
            planned: sent,
            sent,
            acked: sent,
            expected: sent * MEMBERS,
            delivered: sent * MEMBERS,
            complete: sent,
            ..Counts::default()
        },
        latencies: vec![
            of(Measure::Ack, us),
            of(Measure::Response, us * 1.5),
            of(Measure::Last, us * 2.6),
            of(Measure::Service, us * 0.8),
            of(Measure::Naive, us * 0.3),
            of(Measure::Lateness, 60.0),
        ],
    }
}

fn scrolling(dice: &mut Dice, seconds: u32, us: f64) -> Stream {
    let pages = 50 * u64::from(seconds);
    let counts =
        Counts { planned: pages, sent: pages, acked: pages, rows: pages * 50, ..Counts::default() };
    let latencies = vec![measured(Measure::Page, &latencies(dice, us * 4.0, 3_000))];
    Stream {
        name: "scrolling".into(),
        op: Op::History,
        asked: 50.0,
        achieved: 50.0,
        counts,
        latencies,
    }
}

/// One second; `second` 20-24 are bad ones, as if the disk had stalled.
fn second(dice: &mut Dice, at: u32, rate: f64, us: f64) -> Second {
    let us = if (20..25).contains(&at) { us * 14.0 } else { us };
    let sent = (rate * (0.95 + dice.roll() * 0.1)) as u64;
    let mut of = |us: f64| summary(&latencies(dice, us, 400));
    let (ack, response, last, lateness) = (of(us), of(us * 1.5), of(us * 2.6), of(60.0));
    Second {
        at,
        offered: sent,
        sent,
        acked: sent - sent / 100,
        delivered: sent * MEMBERS,
        live: u64::from(CONNECTIONS) - u64::from(at == 22) * 300,
        ack,
        response,
        last,
        lateness,
        server_busy: Some(rate * 9e-5 * (0.9 + dice.roll() * 0.2)),
        server_bytes: Some(210 * MIB + u64::from(at) * MIB / 4),
        own_busy: rate * 7e-5 * (0.9 + dice.roll() * 0.2),
        steal: dice.roll() * 0.012,
        ..Second::default()
    }
}

fn process(mib: u64) -> Option<Process> {
    Some(Process { cpu_ns: mib * 1_000_000, resident_bytes: mib * MIB, descriptors: 10_031 })
}

fn phase(dice: &mut Dice, (name, rate): (&str, f64), repeat: u32, us: f64) -> Phase {
    let seconds = 60;
    let streams = vec![chat(dice, rate, seconds, us), scrolling(dice, seconds, us)];
    phase_of(dice, (name, rate, seconds), streams, repeat, us)
}

fn phase_of(
    dice: &mut Dice,
    (name, rate, seconds): (&str, f64, u32),
    streams: Vec<Stream>,
    repeat: u32,
    us: f64,
) -> Phase {
    let storm = name == "reconnect storm";
    Phase {
        name: name.into(),
        repeat,
        seconds: f64::from(seconds) + 0.4,
        usage: Usage {
            deliveries: streams[0].counts.delivered,
            bytes_per_delivery: 161.4,
            server_us_per_delivery: Some(us / 480.0 * (0.95 + dice.roll() * 0.1)),
            server_busy: Some(rate * 9e-5),
            server: process(224),
            own_us_per_delivery: 4.6,
            own_busy: rate * 7e-5,
            own_busiest: rate * 7e-5,
            machine_busy: 0.34,
            steal: 0.006,
        },
        streams,
        resets: if storm { 3_000 } else { 0 },
        resume: if storm {
            summary(&latencies(dice, us * 90.0, 3_000))
        } else {
            Summary::default()
        },
        live_again_seconds: if storm { [0.41, 1.32, 2.05, 3.4] } else { [0.0; 4] },
        slow: if storm { 20 } else { 0 },
        slow_cut: if storm { 6 } else { 0 },
        series: (1..=seconds).map(|at| second(dice, at, rate, us)).collect(),
        ..Phase::default()
    }
}

fn side(dice: &mut Dice, name: &str, guarantees: &str, us: f64) -> Side {
    let plan = [("calm", 1_000.0), ("evening peak", 4_500.0), ("reconnect storm", 2_000.0)];
    // Who is slower has more to remember, too.
    let size = (us / 1_900.0).powi(2);
    let mut phases = Vec::new();
    for repeat in 1..=2 {
        phases
            .extend(plan.map(|planned| phase(dice, planned, repeat, us * planned.1.sqrt() / 30.0)));
    }
    Side {
        name: name.into(),
        guarantees: guarantees.into(),
        workers: 2,
        ramp: Ramp {
            connections: CONNECTIONS,
            handshake: summary(&latencies(dice, us * 2.0, 10_000)),
            login: summary(&latencies(dice, us * 3.0, 10_000)),
            seconds: 10.3,
            set_up_seconds: 1.2,
            own_bytes: (30 * MIB, 78 * MIB),
            server: [41, 171, 186, 231].map(|mib| process((f64::from(mib) * size) as u64)),
            listen_overflows: 0,
        },
        phases,
        verdict: Verdict {
            passed: true,
            checker: "worker 0: 900,000 sends, 9,000,000 deliveries: every law holds\n".into(),
            channels_read: 1_000,
            rows_read: 900_000,
            ..Verdict::default()
        },
        ..Side::default()
    }
}

fn host() -> Host {
    Host {
        system: "Linux 6.12".into(),
        processor: "AMD EPYC 7B13".into(),
        cores: 8,
        memory_bytes: 32 << 30,
    }
}

/// A run in which all is well.
pub(crate) fn report() -> Report {
    let mut dice = Dice::new(7);
    let objective = |text: &str, found| Objective {
        text: text.into(),
        phase: "evening peak".into(),
        stream: "chat".into(),
        found,
        kept: true,
    };
    let ratio = |phase: &str, ratio: f64| Ratio {
        phase: phase.into(),
        of: "damso".into(),
        by: "bare".into(),
        ratio,
        spread: (ratio - 0.04, ratio + 0.05),
        repeats: 2,
    };
    Report {
        version: REPORT_VERSION,
        outcome: Outcome::Ok,
        reasons: Vec::new(),
        run: 1_764_300_000_000,
        harness: "0.1.0".into(),
        host: host(),
        scenario: "evening".into(),
        about:
            "A normal evening: 10,000 people in 1,000 channels of 10 talk, scroll back, and lose \
                their network for a moment."
                .into(),
        configuration: serde_json::json!({
            "connections": CONNECTIONS, "channels": 1_000, "members": MEMBERS, "payload": 100,
            "arrival": "poisson", "seed": 1, "phases": ["calm", "evening peak", "reconnect storm"],
        }),
        objectives: vec![objective("last.p99<50ms", 12_400), objective("ack.p99.9<250ms", 38_100)],
        sides: vec![
            side(&mut dice, "damso", "durable before the ack, ordered, resumable", 1_900.0),
            side(&mut dice, "bare", "nothing: epoll, TLS and a write per delivery", 1_450.0),
        ],
        saturation: None,
        ratios: vec![
            ratio("calm", 1.24),
            ratio("evening peak", 1.31),
            ratio("reconnect storm", 1.28),
        ],
    }
}

/// A search for the limit: most loads hold, one breaks, one is too much for the harness.
pub(crate) fn saturation() -> Report {
    let mut dice = Dice::new(11);
    let mut report = report();
    report.scenario = "groups".into();
    report.about = "People in groups talk, more and more of them.".into();
    report.objectives.clear();
    report.ratios.clear();
    report.sides.truncate(1);
    let side = &mut report.sides[0];
    side.phases.clear();
    let mut steps = Vec::new();
    let rising = [1.0, 1.25, 1.56, 1.95, 2.44, 3.05].map(|load| (load, StepVerdict::Held));
    let search = [
        (3.81, StepVerdict::Broke),
        (3.81, StepVerdict::Broke),
        (3.41, StepVerdict::Held),
        (3.61, StepVerdict::HarnessBound),
        (3.61, StepVerdict::Broke),
        (3.51, StepVerdict::Held),
        (3.51, StepVerdict::Held),
    ];
    for (load, verdict) in rising.into_iter().chain(search) {
        let offered = 1_000.0 * load;
        let held = verdict == StepVerdict::Held;
        let name = format!("load {load:.2}");
        // What waits before a server that can do 3,850 a second.
        let us = match verdict {
            StepVerdict::Held => 900.0,
            StepVerdict::Broke => 3_600.0,
            StepVerdict::HarnessBound => 6_500.0,
        } / (1.0 - load / 3.85);
        let streams = vec![chat(&mut dice, offered, 10, us)];
        let phase = phase_of(&mut dice, (&name, offered, 10), streams, 1, us);
        let [ack, last, lateness] = [0, 2, 5].map(|n| &phase.streams[0].latencies[n]);
        let was = format!("last.p99<200ms was {}", time(last.summary.p99));
        let why = match verdict {
            StepVerdict::Held => String::new(),
            StepVerdict::Broke => format!("{was}; work piled up: 1.4 s of it were left"),
            StepVerdict::HarnessBound => format!("{was}; a worker was busy for 91 %"),
        };
        steps.push(Step {
            load,
            offered,
            achieved: if held { offered * 0.9993 } else { 3_388.0 },
            ack_p99: ack.summary.p99,
            last_p99: last.summary.p99,
            lateness_p99: lateness.summary.p99,
            server_busy: phase.usage.server_busy,
            machine_busy: 0.15 + load * 0.2,
            verdict,
            why,
        });
        side.phases.push(phase);
    }
    let held = steps[steps.len() - 1].clone();
    report.saturation = Some(Saturation {
        load: Some(held.load),
        offered: held.offered,
        achieved: held.achieved,
        slo: "last.p99<200ms".into(),
        bound: "the target".into(),
        steps,
    });
    report
}

/// A run that went wrong in every way, with names that would like to be markup.
pub(crate) fn broken() -> Report {
    let mut report = report();
    let nasty = "<script>throw new Error('out')</script>\"'&<b>";
    report.outcome = Outcome::Incorrect;
    report.reasons = vec![format!("{nasty}: 2 deliveries lost"), "bare: ReceiverHole x 2".into()];
    report.scenario = nasty.into();
    report.about = nasty.into();
    report.objectives[0].kept = false;
    report.sides.truncate(1);
    let side = &mut report.sides[0];
    side.name = nasty.into();
    side.phases.truncate(1);
    side.phases[0].name = nasty.into();
    side.phases[0].lost = 3;
    side.phases[0].closings = vec![nasty.into()];
    side.phases[0].seconds = 754.0;
    side.phases[0].series.iter_mut().for_each(|second| second.server_bytes = None);
    side.phases[0].streams[0].name = nasty.into();
    side.phases[0].streams[0].counts.refused = BTreeMap::from([(429, 17)]);
    side.phases[0].streams[0].counts.delivered -= 2;
    side.verdict = Verdict {
        lost: 2,
        witnesses: vec![Witness {
            wrong: "lost".into(),
            channel: nasty.into(),
            seq: Some(4_711),
            message: "calm, chat, 1,234".into(),
            connection: "worker 0, 17".into(),
        }],
        laws: BTreeMap::from([("ReceiverHole".into(), 2)]),
        checker: format!("worker 0: {nasty} ReceiverHole x 2\n"),
        channels_read: 1_000,
        rows_read: 899_998,
        ..Verdict::default()
    };
    report
}

/// A run that never came to anything.
pub(crate) fn empty() -> Report {
    let mut report = report();
    report.outcome = Outcome::Unreachable;
    report.reasons = vec!["connection refused".into()];
    report.objectives.clear();
    report.sides.clear();
    report.ratios.clear();
    report
}
