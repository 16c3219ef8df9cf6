//! Latency distributions that cross process borders without loss.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};
use serde::{Deserialize, Serialize};

/// Longest latency that is told apart, microseconds: ten minutes. The maximum is given explicitly,
/// since a resizing histogram clamps at its first bound when it records saturating.
const LATENCY_US_MAX: u64 = 600_000_000;

/// A distribution of latencies, 3 significant digits, microseconds.
#[derive(Clone, PartialEq, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram =
            Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("constant bounds are in range");
        Self { histogram }
    }
}

/// The figures that people read, microseconds.
#[derive(Clone, Copy, Default, PartialEq, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// How many were measured.
    pub count: u64,
    /// Median.
    pub p50: u64,
    /// 99 % are at most this.
    pub p99: u64,
    /// 99.9 % are at most this.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl Latencies {
    /// Records a duration in nanoseconds.
    pub fn record_ns(&mut self, ns: u64) {
        // Rounded up, so that nothing is faster than it was.
        self.histogram.saturating_record(ns.div_ceil(1_000));
    }

    /// Nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.histogram.reset();
    }

    /// The value that a share of all, 0-1, does not exceed; microseconds.
    pub fn at(&self, share: f64) -> u64 {
        self.histogram.value_at_quantile(share)
    }

    /// (share, microseconds) along the curve, from the median on, denser towards the end: ten
    /// steps each time that the rest has halved.
    pub fn curve(&self) -> Vec<(f64, u64)> {
        let steps = self.histogram.iter_quantiles(10);
        let mut curve: Vec<(f64, u64)> = steps
            .map(|step| (step.quantile_iterated_to(), step.value_iterated_to()))
            .filter(|(share, _)| *share >= 0.5)
            .collect();
        // Steps in which the value stands still draw nothing but a line.
        curve.dedup_by(|next, kept| next.1 == kept.1 && next.0 < 1.0);
        curve
    }

    /// The distribution itself, for the writers of logs.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.histogram
    }

    /// Adds a distribution of the same bounds, or narrower ones.
    pub fn add(&mut self, histogram: &Histogram<u64>) {
        self.histogram.add(histogram).expect("ours are the widest bounds");
    }

    /// Adds all that `other` holds.
    pub fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("all have the same bounds");
    }

    /// What people read.
    pub fn summary(&self) -> Summary {
        let at = |quantile| self.histogram.value_at_quantile(quantile);
        Summary {
            count: self.histogram.len(),
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: self.histogram.max(),
        }
    }
}

impl Serialize for Latencies {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(&self.histogram, &mut bytes)
            .map_err(|error| serde::ser::Error::custom(format!("{error:?}")))?;
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Latencies {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        let read: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| D::Error::custom(format!("{error:?}")))?;
        let mut latencies = Self::default();
        latencies.histogram.add(&read).map_err(|error| D::Error::custom(format!("{error:?}")))?;
        Ok(latencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_beyond_the_first_bound_are_not_clamped() {
        let mut latencies = Latencies::default();
        for ms in 1..=1_000 {
            latencies.record_ns(ms * 1_000_000);
        }
        let summary = latencies.summary();
        let close = |found: u64, expected: u64| found.abs_diff(expected) <= expected / 500;
        assert!(close(summary.p50, 500_000) && close(summary.p99, 990_000), "{summary:?}");
        assert!(close(summary.max, 1_000_000), "{summary:?}");
    }

    #[test]
    fn merged_parts_are_the_whole_after_a_journey_through_json() {
        let (mut even, mut odd, mut whole) =
            (Latencies::default(), Latencies::default(), Latencies::default());
        for n in 0..10_000_u64 {
            let ns = n * n * 1_000;
            whole.record_ns(ns);
            if n % 2 == 0 { even.record_ns(ns) } else { odd.record_ns(ns) }
        }
        let travel = |part: &Latencies| -> Latencies {
            serde_json::from_str(&serde_json::to_string(part).unwrap()).unwrap()
        };
        let mut merged = travel(&even);
        merged.merge(&travel(&odd));
        assert_eq!(merged.histogram, whole.histogram);
    }
}
