//! What a server was put through, and what stayed behind, as text for a terminal.

use std::fmt;

use super::model::Phase;
use super::stress::{Growth, MEMORY, MEMORY_BESIDE, UNFLUSHED, Visits};

pub(super) fn write_phase(f: &mut fmt::Formatter<'_>, phase: &Phase) -> fmt::Result {
    phase.visits.iter().try_for_each(|visits| write_visits(f, phase, visits))
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
    Ok(())
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}
