//! What a server was put through, and what stayed behind, as text for a terminal.

use std::fmt;

use super::model::{Phase, Side};
use super::stalled::Stalled;
use super::stress::{Growth, Held, MEMORY, MEMORY_BESIDE, Stop, UNFLUSHED, Visits};
use super::text::time;

pub(super) fn write_phase(f: &mut fmt::Formatter<'_>, phase: &Phase) -> fmt::Result {
    phase.held.iter().try_for_each(|held| write_held(f, held))?;
    phase.visits.iter().try_for_each(|visits| write_visits(f, phase, visits))?;
    phase.stop.iter().try_for_each(|stop| write_stop(f, stop))
}

fn write_stop(f: &mut fmt::Formatter<'_>, stop: &Stop) -> fmt::Result {
    let end = match (stop.exit_seconds, stop.exit_code) {
        (None, _) => "did NOT END and was killed".into(),
        (Some(seconds), Some(code)) => format!("ended after {seconds:.2} s with exit code {code}"),
        (Some(seconds), None) => format!("was ended after {seconds:.2} s by a signal"),
    };
    writeln!(
        f,
        "    the server {end}; {} of {} connections ended, {} told that it restarts and when to come \
         back, {} without a word; {} were named another address",
        stop.ended, stop.connections, stop.going_away, stop.unannounced, stop.elsewhere
    )?;
    if stop.going_away < stop.closings.values().sum() {
        writeln!(f, "      last frames by code: {:?}", stop.closings)?;
    }
    writeln!(
        f,
        "      told p50 {} p99 {} max {} after it was asked; to come back after {} to {}, p50 {}, \
         p99 {}",
        time(stop.told.p50),
        time(stop.told.p99),
        time(stop.told.max),
        time(stop.after_us_min),
        time(stop.after.max),
        time(stop.after.p50),
        time(stop.after.p99)
    )?;
    writeln!(
        f,
        "      {} sends unanswered when it ended; started again in {:.2} s, everyone back {:.2} s \
         later",
        stop.unanswered, stop.start_seconds, stop.back_seconds
    )
}

/// What a server that started again on its data has lost.
pub(super) fn write_absent(f: &mut fmt::Formatter<'_>, side: &Side) -> fmt::Result {
    if side.phases.iter().all(|phase| phase.stop.is_none()) {
        return Ok(());
    }
    let of = |law: &str| side.verdict.laws.get(law).copied().unwrap_or(0);
    writeln!(
        f,
        "\n  after the restart: {} messages acknowledged and {} seen that history lacks, {} rows read \
         back",
        of("Lost"),
        of("Vanished"),
        side.verdict.rows_read
    )
}

fn write_visits(f: &mut fmt::Formatter<'_>, phase: &Phase, visits: &Visits) -> fmt::Result {
    let done = visits.done();
    let server_us =
        phase.usage.server_busy.map(|busy| busy * phase.seconds * 1e6 / (done.max(1) as f64));
    writeln!(
        f,
        "    {done} of {} visits by {} people, {:.0}/s: {} whole, {} broken off, {} failed; server {} \
         CPU a visit, traffic included",
        visits.planned,
        visits.visitors,
        done as f64 / phase.seconds,
        visits.whole,
        visits.broken_off(),
        visits.failed,
        server_us.map_or("-".into(), |us| format!("{us:.0} us")),
    )?;
    if !visits.broken.is_empty() {
        let steps: Vec<String> =
            visits.broken.iter().map(|(step, count)| format!("{step} {count}")).collect();
        writeln!(f, "      broken off: {}", steps.join(", "))?;
    }
    Ok(())
}

pub(super) fn write_growth(f: &mut fmt::Formatter<'_>, growth: &[Growth]) -> fmt::Result {
    if growth.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n  the server at rest, after the first phase with visits and after the last:")?;
    for one in growth {
        let bytes = [MEMORY, MEMORY_BESIDE, UNFLUSHED].contains(&one.what.as_str());
        let [first, last] = [one.first, one.last]
            .map(|held| if bytes { mebibytes(held) } else { held.to_string() });
        let grown = match one.last.total_cmp(&one.first) {
            std::cmp::Ordering::Equal => "the same".into(),
            _ => format!("{:+.2} %", one.share() * 100.0),
        };
        writeln!(f, "    {:<36}{first:>14}{last:>14}  {grown}", one.what)?;
    }
    if !growth.iter().any(|one| one.what.starts_with("damso_")) {
        writeln!(f, "    tables NOT KNOWN: no metrics page was named, or it did not answer")?;
    }
    Ok(())
}

fn write_held(f: &mut fmt::Formatter<'_>, held: &Held) -> fmt::Result {
    let logs = held.log_bytes.map_or("-".into(), |bytes| format!("{} KiB", bytes >> 10));
    writeln!(
        f,
        "    server at the end: {} more than at the beginning, channel logs {logs}",
        held.grown_bytes.map_or("-".into(), mebibytes),
    )?;
    if held.stalled == 0 {
        return Ok(());
    }
    if !held.kernel_unknown.is_empty() {
        return writeln!(f, "    kernel memory NOT KNOWN: {}", held.kernel_unknown);
    }
    let [(_, full_first), (there, full)] = held.full;
    writeln!(
        f,
        "    {} stalled: {full_first} sockets full when measuring began, {full} of {there} at the end; \
         the server's ends hold {} of kernel memory, {:.1} KiB each, one {:.1} KiB",
        held.stalled,
        mebibytes(held.kernel_bytes.0 as f64),
        kibibytes(held.kernel_bytes.0 as f64 / there.max(1) as f64),
        kibibytes(held.kernel_bytes.1 as f64)
    )
}

pub(super) fn write_stalled(f: &mut fmt::Formatter<'_>, found: &Stalled) -> fmt::Result {
    let Stalled { phase, beside, repeats, readers, .. } = found;
    write!(f, "\n  stalled: {} readers, ", readers.0)?;
    match (found.user_bytes, found.kernel_bytes) {
        (Some(user), Some(kernel)) => writeln!(
            f,
            "{:.1} KiB each at most (user {:.1} + kernel {:.1})",
            kibibytes(user + kernel as f64),
            kibibytes(user),
            kibibytes(kernel as f64)
        )?,
        _ => writeln!(f, "what each takes is NOT KNOWN: {}", found.unknown)?,
    }
    if found.full < readers.0 || readers.1 < readers.0 {
        writeln!(
            f,
            "    only {} of their sockets were full when measuring began (run.lead_seconds), and {} \
             were still connected at the end",
            found.full, readers.1
        )?;
    }
    for felt in &found.others {
        let (low, middle, high) = felt.ratio;
        writeln!(
            f,
            "    others' last-receiver p99 of {}, {beside} -> {phase}: x {middle:.2} \
             ({low:.2}-{high:.2}, {repeats} repetition(s))",
            felt.stream
        )?;
    }
    Ok(())
}

fn kibibytes(bytes: f64) -> f64 {
    bytes / 1024.0
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}
