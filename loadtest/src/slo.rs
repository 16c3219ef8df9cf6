//! Service level objectives: `ack.p99<50ms,last.p99.9<1s`.

use std::fmt;
use std::str::FromStr;

use crate::figures::Summary;

/// Which distribution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    /// Intended send to acknowledgement.
    Ack,
    /// Intended send to each receiver.
    Response,
    /// Intended send to the last receiver.
    Last,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    P50,
    P99,
    P999,
    Max,
}

/// One promise about one quantile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Objective {
    /// Which distribution.
    pub measure: Measure,
    at: At,
    below_us: u64,
    text: String,
}

/// Several of them.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Objectives(pub Vec<Objective>);

impl Objective {
    /// The figure that this looks at, and whether it is kept.
    pub fn check(&self, summary: &Summary) -> (u64, bool) {
        let found = match self.at {
            At::P50 => summary.p50,
            At::P99 => summary.p99,
            At::P999 => summary.p999,
            At::Max => summary.max,
        };
        (found, found < self.below_us)
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Objectives {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl FromStr for Objective {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no objective; one looks like `ack.p99<50ms`");
        let (what, limit) = text.split_once('<').ok_or_else(wrong)?;
        let (measure, at) = what.split_once('.').ok_or_else(wrong)?;
        let measure = match measure.trim() {
            "ack" => Measure::Ack,
            "response" => Measure::Response,
            "last" => Measure::Last,
            other => return Err(format!("`{other}` is not measured; take ack, response or last")),
        };
        let at = match at.trim() {
            "p50" => At::P50,
            "p99" => At::P99,
            "p99.9" | "p999" => At::P999,
            "max" => At::Max,
            other => return Err(format!("`{other}` is not reported; take p50, p99, p99.9 or max")),
        };
        let limit = limit.trim();
        let digits = limit.find(|c: char| c.is_alphabetic()).ok_or_else(wrong)?;
        let number: f64 = limit[..digits].trim().parse().map_err(|_| wrong())?;
        let unit_us = match &limit[digits..] {
            "us" => 1.0,
            "ms" => 1e3,
            "s" => 1e6,
            _ => return Err(wrong()),
        };
        if !number.is_finite() || number <= 0.0 {
            return Err(wrong());
        }
        Ok(Self { measure, at, below_us: (number * unit_us) as u64, text: text.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objective_is_kept_below_its_limit_only() {
        let summary = Summary { count: 1, p50: 10, p99: 49_999, p999: 50_000, max: 2_000_000 };
        let cases = [
            ("ack.p99<50ms", true),
            ("ack.p99.9 < 50ms", false),
            ("last.max<2.1s", true),
            ("response.p50<10us", false),
        ];
        for (text, kept) in cases {
            let objective: Objective = text.parse().unwrap();
            assert_eq!(objective.check(&summary).1, kept, "{text}");
        }
    }

    #[test]
    fn what_is_no_objective_is_refused_with_a_reason() {
        for text in ["ack", "ack.p99<", "ack.p99<5", "ack.p98<5ms", "act.p99<5ms", "ack.p50<-1ms"] {
            assert!(text.parse::<Objectives>().is_err(), "{text}");
        }
        assert_eq!("ack.p99<1ms, last.max<1s".parse::<Objectives>().unwrap().0.len(), 2);
    }
}
