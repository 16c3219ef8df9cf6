//! The report as text for a terminal.

use std::fmt::{self, Write as _};

use super::model::{Measure, Phase, Ramp, Report, Saturation, Side, Stream, Usage, Verdict};
use crate::figures::Summary;
use crate::scenario::Op;

/// Above this share of stolen time a window says little. Shown, not judged.
const STEAL_NOTED: f64 = 0.02;
/// Broken laws of the checker are many lines; the JSON has them all.
const CHECKER_LINES_MAX: usize = 24;

/// Microseconds as people read them.
pub fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..100_000 => format!("{:.2} ms", us as f64 / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// What stands before the figures of a measure.
fn label(measure: Measure) -> &'static str {
    match measure {
        Measure::Ack => "to the ack",
        Measure::Response => "to each receiver",
        Measure::Last => "to the last receiver",
        Measure::Service => "(from the actual send)",
        Measure::Naive => "(naive: ack, closed loop)",
        Measure::Lateness => "(harness lateness)",
        Measure::Page => "page of history",
        Measure::Refused => "to the refusal",
    }
}

impl Phase {
    /// One line of progress.
    pub fn headline(&self) -> String {
        let mut line = String::new();
        for stream in &self.streams {
            let counts = &stream.counts;
            let (last, page) = (stream.summary(Measure::Last), stream.summary(Measure::Page));
            let figures = if stream.op == Op::History {
                format!("pages p50 {} p99 {}", time(page.p50), time(page.p99))
            } else {
                format!(
                    "{} of {} deliveries, last receiver p50 {} p99 {}",
                    counts.delivered + counts.caught_up,
                    counts.expected,
                    time(last.p50),
                    time(last.p99)
                )
            };
            let _ = write!(line, "{} {:.0}/s, {figures}; ", stream.name, stream.achieved);
        }
        if self.streams.is_empty() {
            line.push_str("nothing was sent");
        }
        line.trim_end_matches("; ").into()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        writeln!(
            f,
            "\ndamso-loadtest {}, scenario {}: {}",
            self.harness, self.scenario, self.about
        )?;
        writeln!(f, "{}, {} cores, {}", host.system, host.cores, host.processor)?;
        let phases = self.saturation.is_none();
        self.sides.iter().try_for_each(|side| write_side(f, side, phases))?;
        super::table::write(f, self)?;
        for objective in &self.objectives {
            let verdict = if objective.kept { "kept" } else { "BROKEN" };
            writeln!(
                f,
                "\nobjective {} {verdict}: {} ({}, {})",
                objective.text,
                time(objective.found),
                objective.stream,
                objective.phase
            )?;
        }
        if let Some(saturation) = &self.saturation {
            write_saturation(f, saturation)?;
        }
        writeln!(f, "\n{}", self.outcome.text())?;
        self.reasons.iter().try_for_each(|reason| writeln!(f, "  {reason}"))
    }
}

fn write_side(f: &mut fmt::Formatter<'_>, side: &Side, phases: bool) -> fmt::Result {
    writeln!(f, "\n{}: {}", side.name, side.guarantees)?;
    write_ramp(f, &side.ramp, side.workers)?;
    if phases {
        side.phases.iter().try_for_each(|phase| write_phase(f, phase))?;
    }
    super::stress_text::write_growth(f, &side.growth)?;
    side.overloads.iter().try_for_each(|overload| write!(f, "{overload}"))?;
    side.stalled.iter().try_for_each(|stalled| super::stress_text::write_stalled(f, stalled))?;
    super::stress_text::write_absent(f, side)?;
    write_verdict(f, &side.verdict)
}

fn write_ramp(f: &mut fmt::Formatter<'_>, ramp: &Ramp, workers: u32) -> fmt::Result {
    let connections = f64::from(ramp.connections.max(1));
    let own = ramp.own_bytes.1.saturating_sub(ramp.own_bytes.0) as f64 / connections;
    writeln!(
        f,
        "  {} connections in {:.1} s from {workers} worker(s), handshake p50 {} p99 {}, live p50 {} \
         p99 {}",
        ramp.connections,
        ramp.seconds,
        time(ramp.handshake.p50),
        time(ramp.handshake.p99),
        time(ramp.login.p50),
        time(ramp.login.p99)
    )?;
    writeln!(
        f,
        "  channels in {:.1} s; listen overflows {}; harness memory {own:.0} bytes a connection",
        ramp.set_up_seconds, ramp.listen_overflows
    )?;
    let (Some(before), Some(connected)) = (ramp.server[0], ramp.server[1]) else { return Ok(()) };
    let per = |process: Option<crate::host::Process>| {
        process.map_or(0.0, |process| {
            (process.resident_bytes as f64 - before.resident_bytes as f64) / connections
        })
    };
    let login_us = connected.cpu_ns.saturating_sub(before.cpu_ns) as f64 / 1e3 / connections;
    writeln!(
        f,
        "  server memory a connection: {:.0} bytes connected, {:.0} in channels, {:.0} in the end; \
         {} descriptors; {login_us:.0} us CPU a login",
        per(Some(connected)),
        per(ramp.server[2]),
        per(ramp.server[3]),
        connected.descriptors
    )
}

fn write_phase(f: &mut fmt::Formatter<'_>, phase: &Phase) -> fmt::Result {
    let repeat =
        if phase.repeat > 1 { format!(", repeat {}", phase.repeat) } else { String::new() };
    writeln!(f, "\n  phase {}{repeat}: {:.1} s", phase.name, phase.seconds)?;
    phase.streams.iter().try_for_each(|stream| write_stream(f, stream))?;
    write_usage(f, &phase.usage)?;
    if phase.resets > 0 {
        writeln!(
            f,
            "    {} connections reset; from the next attempt to live and up to date: p50 {} p99 {}",
            phase.resets,
            time(phase.resume.p50),
            time(phase.resume.p99)
        )?;
        let [half, most, nearly, all] = phase.live_again_seconds;
        if all > 0.0 {
            writeln!(
                f,
                "    after the storm, live again: half {half:.2} s, 95 % {most:.2} s, 99 % \
                 {nearly:.2} s, all {all:.2} s"
            )?;
        }
    }
    if phase.slow > 0 {
        writeln!(f, "    {} read slowly, {} of them were cut", phase.slow, phase.slow_cut)?;
    }
    super::stress_text::write_phase(f, phase)
}

fn write_stream(f: &mut fmt::Formatter<'_>, stream: &Stream) -> fmt::Result {
    let counts = &stream.counts;
    if counts.planned == 0 && stream.op == Op::History {
        return writeln!(f, "    {} (history): n/a, this target keeps none", stream.name);
    }
    let refused = counts.refusals();
    write!(
        f,
        "    {} ({}): {:.0}/s asked, {:.0}/s answered: {} begun, {} answered, {refused} refused",
        stream.name,
        stream.op.name(),
        stream.asked,
        stream.achieved,
        counts.sent,
        counts.acked
    )?;
    if refused > 0 {
        write!(f, " {:?}", counts.refused)?;
    }
    writeln!(f)?;
    if stream.op == Op::History {
        writeln!(f, "      {} rows read", counts.rows)?;
    } else {
        let later = if counts.caught_up + counts.delivered_slowly > 0 {
            format!(
                ", {} caught up, {} to slow readers and visitors",
                counts.caught_up, counts.delivered_slowly
            )
        } else {
            String::new()
        };
        writeln!(
            f,
            "      deliveries {} of {}{later}; {} messages complete",
            counts.delivered, counts.expected, counts.complete
        )?;
    }
    let names = ["p50", "p99", "p99.9", "max", "count"];
    write!(f, "      {:<26}", "from the intended time")?;
    names.iter().try_for_each(|name| write!(f, "{name:>11}"))?;
    writeln!(f)?;
    for measured in &stream.latencies {
        let Summary { count, p50, p99, p999, max } = measured.summary;
        write!(f, "      {:<26}", label(measured.measure))?;
        [p50, p99, p999, max].iter().try_for_each(|us| write!(f, "{:>11}", time(*us)))?;
        writeln!(f, "{count:>11}")?;
    }
    Ok(())
}

fn write_usage(f: &mut fmt::Formatter<'_>, usage: &Usage) -> fmt::Result {
    let us = |us: Option<f64>| us.map_or("-".into(), |us| format!("{us:.2} us"));
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    if usage.deliveries > 0 {
        writeln!(
            f,
            "    per delivery: server {} CPU, harness {}, {:.0} bytes on the wire",
            us(usage.server_us_per_delivery),
            us(Some(usage.own_us_per_delivery)),
            usage.bytes_per_delivery
        )?;
    }
    let noted = if usage.steal > STEAL_NOTED { "  <- much: do not trust the tails" } else { "" };
    writeln!(
        f,
        "    busy: server {} of a core, harness {}; machine {}, steal {:.1} %{noted}",
        usage.server_busy.map_or("-".into(), percent),
        percent(usage.own_busy),
        percent(usage.machine_busy),
        usage.steal * 100.0
    )
}

fn write_saturation(f: &mut fmt::Formatter<'_>, saturation: &Saturation) -> fmt::Result {
    let names = ["load", "asked/s", "answered/s", "ack p99", "last p99", "late p99", "machine"];
    writeln!(f)?;
    names.iter().try_for_each(|name| write!(f, "{name:>12}"))?;
    writeln!(f)?;
    for step in &saturation.steps {
        let [ack, last, late] = [step.ack_p99, step.last_p99, step.lateness_p99].map(time);
        writeln!(
            f,
            "{:>12.2}{:>12.0}{:>12.0}{ack:>12}{last:>12}{late:>12}{:>10.0} %  {} {}",
            step.load,
            step.offered,
            step.achieved,
            step.machine_busy * 100.0,
            step.verdict.text(),
            step.why
        )?;
    }
    writeln!(f, "\nheld: {}", saturation.slo)?;
    match saturation.load {
        Some(load) => writeln!(
            f,
            "highest load that held: {:.0}/s asked, {:.0}/s answered ({load:.2} x the scenario); \
             bound by {}",
            saturation.offered, saturation.achieved, saturation.bound
        ),
        None => writeln!(f, "no load held; bound by {}", saturation.bound),
    }
}

fn write_verdict(f: &mut fmt::Formatter<'_>, verdict: &Verdict) -> fmt::Result {
    let Verdict { lost, duplicated, reordered, corrupted, .. } = verdict;
    writeln!(
        f,
        "\n  verdict: {}; lost {lost}, duplicated {duplicated}, reordered {reordered}, corrupted \
         {corrupted}; {} channels and {} rows read back",
        if verdict.passed { "nothing wrong" } else { "WRONG" },
        verdict.channels_read,
        verdict.rows_read
    )?;
    for witness in &verdict.witnesses {
        let seq = witness.seq.map_or(String::new(), |seq| format!(" seq {seq}"));
        writeln!(
            f,
            "    {}: channel {}{seq}, message {}, connection {}",
            witness.wrong, witness.channel, witness.message, witness.connection
        )?;
    }
    let lines: Vec<&str> = verdict.checker.lines().collect();
    let shown = if verdict.passed { 2 * lines.len().min(1) } else { CHECKER_LINES_MAX };
    lines.iter().take(shown).try_for_each(|line| writeln!(f, "    {line}"))?;
    if lines.len() > shown && !verdict.passed {
        writeln!(f, "    ... {} more lines in the JSON report", lines.len() - shown)?;
    }
    Ok(())
}

impl super::model::Outcome {
    /// What it means, with the exit code.
    pub fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Usage => "not run (exit 1)",
            Self::Slo => "AN OBJECTIVE IS BROKEN (exit 2)",
            Self::Incorrect => "SOMETHING IS WRONG (exit 3)",
            Self::Void => "VOID: the harness was late, this says nothing about the target (exit 5)",
            Self::Unreachable => "unreachable (exit 6)",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_are_read_with_three_digits() {
        let cases = [(0, "0 us"), (999, "999 us"), (1_500, "1.50 ms"), (250_000, "250 ms")];
        for (us, text) in cases {
            assert_eq!(time(us), text);
        }
        assert_eq!(time(2_345_678), "2.35 s");
    }
}
