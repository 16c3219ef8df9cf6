//! When each message is meant to be sent, fixed before the first one is.
//!
//! An open loop: a slow server does not slow the schedule down, so its slowness is measured
//! instead of hidden.

use serde::{Deserialize, Serialize};

/// How messages arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Arrival {
    /// Independent people: exponential gaps.
    Poisson,
    /// A metronome.
    Constant,
}

/// One message to be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Planned {
    /// Nanoseconds after the phase's start.
    pub offset_ns: u64,
    /// Which channel.
    pub channel: u32,
    /// Which of its members sends.
    pub member: u32,
}

/// Plans `rate` messages a second for `seconds` over `channels`, each of `members`.
///
/// The same seed plans the same messages.
pub fn plan(
    arrival: Arrival,
    rate: f64,
    seconds: f64,
    (channels, members): (u32, u32),
    seed: u64,
) -> Vec<Planned> {
    let mut random = Random::new(seed);
    let gap_ns = 1e9 / rate;
    let end_ns = seconds * 1e9;
    let mut planned = Vec::with_capacity((rate * seconds * 1.05) as usize + 16);
    let mut at = 0.0;
    loop {
        at += match arrival {
            Arrival::Constant => gap_ns,
            Arrival::Poisson => -(1.0 - random.unit()).ln() * gap_ns,
        };
        if at > end_ns {
            return planned;
        }
        let (channel, member) = (random.below(channels), random.below(members));
        planned.push(Planned { offset_ns: at as u64, channel, member });
    }
}

/// splitmix64: small, seedable, good enough to spread load.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Evenly in 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Evenly in 0..`bound`; 0 for 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(bound) * (self.bits() >> 32)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_arrivals_keep_the_rate_and_rise() {
        for arrival in [Arrival::Constant, Arrival::Poisson] {
            let planned = plan(arrival, 1_000.0, 100.0, (10, 3), 42);
            let off = (planned.len() as f64 - 100_000.0).abs();
            // 5 standard deviations of a Poisson count.
            assert!(off < 1_600.0, "{arrival:?}: {}", planned.len());
            assert!(planned.is_sorted_by_key(|message| message.offset_ns));
            assert!(planned.iter().all(|message| message.channel < 10 && message.member < 3));
        }
    }

    #[test]
    fn poisson_gaps_spread_like_an_exponential() {
        let planned = plan(Arrival::Poisson, 1_000.0, 100.0, (1, 1), 7);
        let gaps: Vec<f64> = planned
            .windows(2)
            .map(|pair| (pair[1].offset_ns - pair[0].offset_ns) as f64 / 1e6)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "mean {mean} ms");
        assert!((variance.sqrt() - 1.0).abs() < 0.03, "deviation {} ms", variance.sqrt());
    }

    #[test]
    fn a_seed_plans_the_same_again_and_another_something_else() {
        let planned = |seed| plan(Arrival::Poisson, 100.0, 2.0, (50, 10), seed);
        assert_eq!(planned(1), planned(1));
        assert_ne!(planned(1), planned(2));
    }

    #[test]
    fn all_channels_and_members_get_their_turn() {
        let planned = plan(Arrival::Constant, 1_000.0, 10.0, (100, 10), 3);
        for channel in 0..100 {
            assert!(planned.iter().any(|message| message.channel == channel));
        }
        for member in 0..10 {
            assert!(planned.iter().any(|message| message.member == member));
        }
    }
}
