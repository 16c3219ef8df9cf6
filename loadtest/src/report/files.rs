//! The report in the field's formats: one line per second as CSV, percentiles as .hgrm.

use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::model::{Measured, Report, Second};

/// First line of the CSV.
const COLUMNS: &str = "side,phase,repeat,second,offered,sent,acked,delivered,live,ack_p50_us,\
                       ack_p99_us,ack_max_us,response_p50_us,response_p99_us,response_max_us,\
                       last_p50_us,last_p99_us,last_max_us,lateness_p99_us,server_busy,\
                       server_bytes,harness_busy,steal";

/// One line per second of each phase and side. What is not known is empty.
pub fn csv(report: &Report) -> String {
    let mut out = String::from(COLUMNS);
    out.push('\n');
    for side in &report.sides {
        for phase in &side.phases {
            for second in &phase.series {
                let context =
                    format!("{},{},{}", field(&side.name), field(&phase.name), phase.repeat);
                line(&mut out, &context, second);
            }
        }
    }
    out
}

fn line(out: &mut String, context: &str, second: &Second) {
    let Second { at, offered, sent, acked, delivered, live, ack, response, last, .. } = second;
    let optional = |value: Option<String>| value.unwrap_or_default();
    let _ = writeln!(
        out,
        "{context},{at},{offered},{sent},{acked},{delivered},{live},{},{},{},{},{},{},{},{},{},{},\
         {},{},{:.4},{:.4}",
        ack.p50,
        ack.p99,
        ack.max,
        response.p50,
        response.p99,
        response.max,
        last.p50,
        last.p99,
        last.max,
        second.lateness.p99,
        optional(second.server_busy.map(|busy| format!("{busy:.4}"))),
        optional(second.server_bytes.map(|bytes| bytes.to_string())),
        second.own_busy,
        second.steal
    );
}

/// A name as RFC 4180 has it.
fn field(name: &str) -> String {
    if name.contains([',', '"', '\n']) {
        format!("\"{}\"", name.replace('"', "\"\""))
    } else {
        name.into()
    }
}

/// Writes one .hgrm file per side, phase, repetition, stream and measure into `directory`, as
/// HdrHistogram's plotters read them.
///
/// # Errors
/// A file cannot be written.
pub fn write_hgrm(report: &Report, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for side in &report.sides {
        for phase in &side.phases {
            for stream in &phase.streams {
                for measured in &stream.latencies {
                    let name = format!(
                        "{}-{}-{}-{}-{}.hgrm",
                        side.name,
                        phase.name,
                        phase.repeat,
                        stream.name,
                        measured.measure.name()
                    );
                    std::fs::write(directory.join(file_name(&name)), hgrm(measured))?;
                }
            }
        }
    }
    Ok(())
}

/// A name that is one everywhere.
fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || "-._".contains(c) { c } else { '-' };
    name.chars().map(plain).collect()
}

/// A percentile distribution in milliseconds.
fn hgrm(measured: &Measured) -> String {
    let histogram = measured.histogram.histogram();
    let mut out = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let mut count = 0;
    for step in histogram.iter_quantiles(5) {
        let share = step.quantile_iterated_to();
        let value = step.value_iterated_to() as f64 / 1e3;
        count += step.count_since_last_iteration();
        let _ = write!(out, "{value:>12.3} {share:>14.12} {count:>10}");
        let _ = if share < 1.0 {
            writeln!(out, " {:>14.2}", 1.0 / (1.0 - share))
        } else {
            writeln!(out)
        };
    }
    let _ = writeln!(
        out,
        "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]\n\
         #[Max     = {:>12.3}, Total count    = {:>12}]\n\
         #[Buckets = {:>12}, SubBuckets     = {:>12}]",
        histogram.mean() / 1e3,
        histogram.stdev() / 1e3,
        histogram.max() as f64 / 1e3,
        histogram.len(),
        histogram.buckets(),
        2048
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Latencies;
    use crate::report::model::Measure;

    #[test]
    fn a_csv_line_has_as_many_fields_as_the_first_line_says() {
        let mut out = String::new();
        line(&mut out, "damso,steady,1", &Second { server_busy: Some(0.5), ..Second::default() });
        assert_eq!(out.trim_end().split(',').count(), COLUMNS.split(',').count());
        assert_eq!(field("a, \"b\""), "\"a, \"\"b\"\"\"");
    }

    #[test]
    fn an_hgrm_ends_with_all_values_counted() {
        let mut histogram = Latencies::default();
        (1..=1_000).for_each(|ms| histogram.record_ns(ms * 1_000_000));
        let summary = histogram.summary();
        let curve = histogram.curve();
        let text = hgrm(&Measured { measure: Measure::Last, summary, curve, histogram });
        let last = text.lines().rfind(|line| !line.starts_with('#')).unwrap();
        let fields: Vec<&str> = last.split_whitespace().collect();
        assert_eq!(fields[1..], ["1.000000000000", "1000"]);
        assert!(fields[0].parse::<f64>().unwrap() >= 1_000.0);
    }
}
