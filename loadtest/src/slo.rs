//! Service level objectives: `ack.p99<50ms,last.p99.9<1s,talk.last.p50<5ms`.

use std::fmt;
use std::str::FromStr;

use crate::figures::Summary;
use crate::report::model::Measure;
use crate::scenario::Op;

/// What can be promised: the rest is the harness' own.
const PROMISED: [Measure; 4] = [Measure::Ack, Measure::Response, Measure::Last, Measure::Page];

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
    /// Of which stream. `None`: of each that measures it.
    pub stream: Option<String>,
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
    /// The figure that this looks at, microseconds, and whether it is kept. Nothing measured is
    /// nothing kept.
    pub fn check(&self, summary: &Summary) -> (u64, bool) {
        let found = match self.at {
            At::P50 => summary.p50,
            At::P99 => summary.p99,
            At::P999 => summary.p999,
            At::Max => summary.max,
        };
        (found, summary.count > 0 && found < self.below_us)
    }

    /// It is about the stream of this name and this kind of operation: pages are history's, the
    /// rest is measured of what is sent.
    pub fn is_about(&self, stream: &str, op: Op) -> bool {
        let measured = if self.measure == Measure::Page { Op::History } else { Op::Send };
        op == measured && self.stream.as_deref().is_none_or(|name| name == stream)
    }

    /// The limit, microseconds.
    pub fn below_us(&self) -> u64 {
        self.below_us
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Objectives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.0.iter().map(|objective| objective.text.as_str()).collect();
        f.write_str(&texts.join(","))
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
        let wrong = || {
            format!(
                "`{text}` is no objective; one looks like `ack.p99<50ms`, or `talk.ack.p99<50ms` \
                 for the stream `talk`"
            )
        };
        let (what, limit) = text.split_once('<').ok_or_else(wrong)?;
        let (what, at) = quantile(what.trim()).ok_or_else(|| {
            format!("`{}` does not end in a quantile; take p50, p99, p99.9 or max", what.trim())
        })?;
        let (stream, measure) = match what.rsplit_once('.') {
            Some((stream, measure)) => (Some(stream.to_owned()), measure),
            None => (None, what),
        };
        let known = PROMISED.into_iter().find(|known| known.name() == measure);
        let measure = known.ok_or_else(|| {
            format!("`{measure}` is not measured; take ack, response, last or page")
        })?;
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
        let below_us = (number * unit_us) as u64;
        Ok(Self { stream, measure, at, below_us, text: text.into() })
    }
}

/// What stands before a quantile, and which it is.
fn quantile(text: &str) -> Option<(&str, At)> {
    let known = [
        (".p99.9", At::P999),
        (".p999", At::P999),
        (".p99", At::P99),
        (".p50", At::P50),
        (".max", At::Max),
    ];
    known.into_iter().find_map(|(end, at)| Some((text.strip_suffix(end)?, at)))
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
            ("some talk.page.p999<51ms", true),
        ];
        for (text, kept) in cases {
            let objective: Objective = text.parse().unwrap();
            assert_eq!(objective.check(&summary).1, kept, "{text}");
        }
    }

    #[test]
    fn nothing_measured_is_nothing_kept() {
        let objective: Objective = "ack.p99<50ms".parse().unwrap();
        assert!(!objective.check(&Summary::default()).1);
    }

    #[test]
    fn an_objective_may_be_about_one_stream() {
        let objective: Objective = "hall talk.last.p99<5ms".parse().unwrap();
        assert!(objective.is_about("hall talk", Op::Send) && !objective.is_about("talk", Op::Send));
        let objective: Objective = "last.p99<5ms".parse().unwrap();
        assert!(objective.is_about("hall talk", Op::Send));
        assert!(!objective.is_about("hall talk", Op::History));
        let objective: Objective = "page.p99<5ms".parse().unwrap();
        assert!(objective.is_about("scroll", Op::History));
    }

    #[test]
    fn what_is_no_objective_is_refused_with_a_reason() {
        for text in ["ack", "ack.p99<", "ack.p99<5", "ack.p98<5ms", "act.p99<5ms", "ack.p50<-1ms"] {
            assert!(text.parse::<Objectives>().is_err(), "{text}");
        }
        assert_eq!("ack.p99<1ms, last.max<1s".parse::<Objectives>().unwrap().0.len(), 2);
    }
}
