//! Several targets in one table: each figure as the median of its repetitions, with their range,
//! and what the first takes relative to each other one.

use std::fmt::{self, Write as _};

use super::model::{Measure, Phase, Report, Side};
use super::text::time;
use super::verdict::spread;
use crate::scenario::Op;

/// Width of the names, and of each target's column.
const NAMES: usize = 26;
const COLUMN: usize = 30;

/// A figure of one phase; `None`: this target has none.
type Figure = fn(&Side, &Phase, &str) -> Option<f64>;

/// How a figure is written.
type Text = fn(f64) -> String;

/// What is compared.
const ROWS: [(&str, Figure, Text); 8] = [
    ("ack p50", |_, phase, stream| of(phase, stream, Measure::Ack, 50), us),
    ("ack p99", |_, phase, stream| of(phase, stream, Measure::Ack, 99), us),
    ("each receiver p50", |_, phase, stream| of(phase, stream, Measure::Response, 50), us),
    ("last receiver p50", |_, phase, stream| of(phase, stream, Measure::Last, 50), us),
    ("last receiver p99", |_, phase, stream| of(phase, stream, Measure::Last, 99), us),
    ("server CPU a delivery", |_, phase, _| phase.usage.server_us_per_delivery, cpu),
    ("bytes a delivery", |_, phase, _| Some(phase.usage.bytes_per_delivery), bytes),
    ("memory a connection", |side, _, _| memory(side), bytes),
];

fn us(us: f64) -> String {
    time(us.round() as u64)
}

fn cpu(us: f64) -> String {
    format!("{us:.2} us")
}

fn bytes(bytes: f64) -> String {
    format!("{bytes:.0} B")
}

fn of(phase: &Phase, stream: &str, measure: Measure, percent: u32) -> Option<f64> {
    let stream = phase.streams.iter().find(|found| found.name == stream)?;
    let summary = stream.summary(measure);
    let value = if percent == 50 { summary.p50 } else { summary.p99 };
    (summary.count > 0).then_some(value as f64)
}

/// Growth of resident memory from empty to all channels made, per connection.
fn memory(side: &Side) -> Option<f64> {
    let (before, after) = (side.ramp.server[0]?, side.ramp.server[2]?);
    let grown = after.resident_bytes as f64 - before.resident_bytes as f64;
    Some(grown / f64::from(side.ramp.connections.max(1)))
}

/// Writes the table, if there is more than one target.
pub(super) fn write(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let Some((first, others)) = report.sides.split_first().filter(|(_, rest)| !rest.is_empty())
    else {
        return Ok(());
    };
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for phase in &first.phases {
        for stream in phase.streams.iter().filter(|stream| stream.op == Op::Send) {
            let key = (phase.name.as_str(), stream.name.as_str());
            if !seen.contains(&key) {
                seen.push(key);
                write_block(f, (first, others), key)?;
            }
        }
    }
    writeln!(f)?;
    for side in &report.sides {
        writeln!(f, "  {}: {}", side.name, side.guarantees)?;
    }
    Ok(())
}

fn write_block(
    f: &mut fmt::Formatter<'_>,
    (first, others): (&Side, &[Side]),
    (phase, stream): (&str, &str),
) -> fmt::Result {
    let head = format!("{phase}, {stream}");
    write!(f, "\n{head:<NAMES$}{:>COLUMN$}", first.name)?;
    others.iter().try_for_each(|side| write!(f, "{:>COLUMN$}", side.name))?;
    others.iter().try_for_each(|side| write!(f, "{:>COLUMN$}", format!("x {}", side.name)))?;
    writeln!(f)?;
    for (name, figure, text) in ROWS {
        let own = values(first, phase, stream, figure);
        let theirs: Vec<Vec<f64>> =
            others.iter().map(|side| values(side, phase, stream, figure)).collect();
        write!(f, "{name:<NAMES$}{:>COLUMN$}", cell(&own, text))?;
        theirs.iter().try_for_each(|values| write!(f, "{:>COLUMN$}", cell(values, text)))?;
        theirs.iter().try_for_each(|values| write!(f, "{:>COLUMN$}", ratio(&own, values)))?;
        writeln!(f)?;
    }
    Ok(())
}

/// The figure of every repetition, in order.
fn values(side: &Side, phase: &str, stream: &str, figure: Figure) -> Vec<f64> {
    let own = side.phases.iter().filter(|found| found.name == phase);
    own.filter_map(|found| figure(side, found, stream)).collect()
}

fn cell(values: &[f64], text: Text) -> String {
    let Some((low, middle, high)) = spread(values) else { return "n/a".into() };
    let mut cell = text(middle);
    let (low, high) = (text(low), text(high));
    if low != high {
        let _ = write!(cell, " ({low}-{high})");
    }
    cell
}

/// Own over theirs, repetition by repetition: both ran under the same neighbours.
fn ratio(own: &[f64], theirs: &[f64]) -> String {
    let pairs = own.iter().zip(theirs).filter(|(_, theirs)| **theirs > 0.0);
    let ratios: Vec<f64> = pairs.map(|(own, theirs)| own / theirs).collect();
    cell(&ratios, |ratio| format!("{ratio:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_shows_the_median_and_the_range() {
        assert_eq!(cell(&[3_000.0, 1_000.0, 2_000.0], us), "2.00 ms (1.00 ms-3.00 ms)");
        assert_eq!(cell(&[5.0], us), "5 us");
        assert_eq!(cell(&[], us), "n/a");
    }

    #[test]
    fn ratios_are_taken_within_a_repetition() {
        // A machine that is twice as slow in the second repetition is so for both.
        assert_eq!(ratio(&[10.0, 20.0], &[20.0, 40.0]), "0.50");
        assert_eq!(ratio(&[10.0, 30.0], &[20.0, 40.0]), "0.62 (0.50-0.75)");
        assert_eq!(ratio(&[1.0], &[]), "n/a");
    }
}
