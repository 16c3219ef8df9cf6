//! Distributions of each second as an HdrHistogram V2 interval log, the field's own format: its
//! readers merge, cut and plot it.
//!
//! ```text
//! Tag=SIDE/PHASE/REPEAT/STREAM/MEASURE,start,length,max,histogram      microseconds
//! ```

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2Serializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::figures::Latencies;
use crate::report::model::Measure;

/// Microseconds in a unit of the log's `max` column, which the format wants in milliseconds.
const MAX_DIVISOR: f64 = 1_000.0;

/// The log of one run.
pub(super) struct SecondLog {
    file: BufWriter<File>,
    base: SystemTime,
    /// Lines gathered for the phase that runs.
    lines: Vec<u8>,
    /// Side, phase and repeat that lines are tagged with.
    context: String,
    streams: Vec<String>,
    start: Duration,
    error: Option<io::Error>,
}

impl SecondLog {
    /// Begins a log at `path`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn begin(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        let base = SystemTime::now();
        let mut serializer = V2Serializer::new();
        IntervalLogWriterBuilder::new()
            .add_comment("damso-loadtest: microseconds, tagged SIDE/PHASE/REPEAT/STREAM/MEASURE")
            .with_start_time(base)
            .with_base_time(base)
            .begin_log_with(&mut file, &mut serializer)?;
        let (lines, context, streams) = (Vec::new(), String::new(), Vec::new());
        Ok(Self { file, base, lines, context, streams, start: Duration::ZERO, error: None })
    }

    /// A phase begins now.
    pub(super) fn phase(&mut self, context: &str, streams: &[String]) {
        self.context = clean(context);
        self.streams = streams.iter().map(|name| clean(name)).collect();
        self.start = self.base.elapsed().unwrap_or_default();
    }

    /// One distribution of one second.
    pub(super) fn add(&mut self, stream: u16, measure: Measure, at: u32, latencies: &Latencies) {
        let stream = self.streams.get(stream as usize).map_or("", String::as_str);
        let text = format!("{}/{stream}/{}", self.context, measure.name());
        let start = self.start + Duration::from_secs(u64::from(at.saturating_sub(1)));
        let mut serializer = V2Serializer::new();
        // The library's writer begins with a header of its own: only its lines are kept.
        let mut line = Vec::new();
        let written = (|| {
            let mut writer = IntervalLogWriterBuilder::new()
                .with_max_value_divisor(MAX_DIVISOR)
                .begin_log_with(&mut line, &mut serializer)?;
            let tag = Tag::new(&text);
            writer
                .write_histogram(latencies.histogram(), start, Duration::from_secs(1), tag)
                .map_err(|error| io::Error::other(format!("{error:?}")))
        })();
        match written {
            Ok(()) => {
                let own = line.split_inclusive(|byte| *byte == b'\n');
                own.filter(|line| line.starts_with(b"Tag=")).for_each(|l| self.lines.extend(l));
            }
            Err(error) => self.error = Some(error),
        }
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        use std::io::Write as _;
        self.file.write_all(&std::mem::take(&mut self.lines))?;
        self.file.flush()?;
        self.error.take().map_or(Ok(()), Err)
    }
}

/// A name without what the format gives a meaning.
fn clean(name: &str) -> String {
    name.replace([',', ' ', '\n', '\r'], "-")
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    #[test]
    fn a_replayed_log_sums_up_to_the_whole_bit_for_bit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run.hlog");
        let mut log = SecondLog::begin(&path).unwrap();
        log.phase("damso/a phase, odd/1", &["talk".into()]);
        let mut whole = Latencies::default();
        for at in 1..=4 {
            let mut second = Latencies::default();
            (0..500_u64).for_each(|n| second.record_ns(n * n * u64::from(at) * 31));
            whole.merge(&second);
            log.add(0, Measure::Last, at, &second);
        }
        log.flush().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut replayed = Latencies::default();
        let mut seconds = 0;
        for entry in IntervalLogIterator::new(&bytes) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                assert_eq!(interval.tag().unwrap().as_str(), "damso/a-phase--odd/1/talk/last");
                assert_eq!(interval.duration(), Duration::from_secs(1));
                let bytes =
                    base64::engine::general_purpose::STANDARD.decode(interval.encoded_histogram());
                let read = hdrhistogram::serialization::Deserializer::new()
                    .deserialize::<u64, _>(&mut bytes.unwrap().as_slice())
                    .unwrap();
                replayed.add(&read);
                seconds += 1;
            }
        }
        assert_eq!(seconds, 4);
        assert_eq!(replayed, whole);
    }
}
