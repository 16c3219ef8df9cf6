//! When each message is meant to be sent, fixed before the first one is.
//!
//! An open loop: a slow server does not slow the schedule down, so its slowness is measured
//! instead of hidden.

use serde::{Deserialize, Serialize};

/// How operations arrive.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Arrival {
    /// Independent people: exponential gaps.
    #[default]
    Poisson,
    /// A metronome.
    Constant,
    /// Bursts of eight in one channel, 50 ms apart, at independent times.
    Bursts,
    /// A metronome on whose beat each channel of the stream gets one, all at once.
    Together,
}

/// Operations of a burst, and the time between two of them.
const BURST: u32 = 8;
const BURST_GAP_NS: u64 = 50_000_000;

/// One operation to be begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Planned {
    /// Nanoseconds after the phase's start.
    pub offset_ns: u64,
    /// Which stream.
    pub stream: u16,
    /// Which channel of the stream's.
    pub channel: u32,
    /// Which of its members.
    pub member: u32,
}

/// One stream to be planned.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Its number.
    pub number: u16,
    /// How its operations arrive.
    pub arrival: Arrival,
    /// Operations a second.
    pub rate: f64,
    /// Channels that it is about.
    pub channels: u32,
    /// Members of each.
    pub members: u32,
    /// How unevenly channels are taken; 0 = all alike.
    pub zipf: f64,
}

/// Plans `streams` for `seconds`, by rising time.
///
/// The same seed plans the same operations, whatever other streams there are.
pub fn plan(streams: &[Stream], seconds: f64, seed: u64) -> Vec<Planned> {
    let mut planned: Vec<Planned> = Vec::new();
    for stream in streams {
        let mut random = Random::new(seed ^ u64::from(stream.number).rotate_left(24));
        plan_one(stream, seconds * 1e9, &mut random, &mut planned);
    }
    planned.sort_by_key(|operation| (operation.offset_ns, operation.stream));
    planned
}

fn plan_one(stream: &Stream, end_ns: f64, random: &mut Random, planned: &mut Vec<Planned>) {
    let channels = Channels::new(stream.channels, stream.zipf);
    let (gap_ns, burst) = match stream.arrival {
        Arrival::Bursts => (1e9 / stream.rate * f64::from(BURST), BURST),
        Arrival::Together => (1e9 / stream.rate * f64::from(stream.channels), stream.channels),
        Arrival::Poisson | Arrival::Constant => (1e9 / stream.rate, 1),
    };
    let mut at = 0.0;
    loop {
        at += match stream.arrival {
            Arrival::Constant | Arrival::Together => gap_ns,
            Arrival::Poisson | Arrival::Bursts => -(1.0 - random.unit()).ln() * gap_ns,
        };
        if at > end_ns {
            return;
        }
        let first = channels.draw(random);
        for nth in 0..burst {
            let (channel, later_ns) = match stream.arrival {
                Arrival::Together => (nth, 0),
                _ => (first, u64::from(nth) * BURST_GAP_NS),
            };
            let offset_ns = at as u64 + later_ns;
            if (offset_ns as f64) <= end_ns {
                let member = random.below(stream.members);
                planned.push(Planned { offset_ns, stream: stream.number, channel, member });
            }
        }
    }
}

/// Draws channels, evenly or by rank.
struct Channels {
    count: u32,
    /// Sum of the weights up to each rank; empty = all alike.
    sums: Vec<f64>,
}

impl Channels {
    fn new(count: u32, zipf: f64) -> Self {
        let mut sum = 0.0;
        let weighed = if zipf > 0.0 { count } else { 0 };
        let sums = (1..=weighed).map(|rank| {
            sum += f64::from(rank).powf(-zipf);
            sum
        });
        Self { count, sums: sums.collect() }
    }

    fn draw(&self, random: &mut Random) -> u32 {
        match self.sums.last() {
            None => random.below(self.count),
            Some(all) => {
                let at = random.unit() * all;
                (self.sums.partition_point(|sum| *sum <= at) as u32).min(self.count - 1)
            }
        }
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

    fn stream(arrival: Arrival, rate: f64, (channels, members): (u32, u32)) -> Stream {
        Stream { number: 0, arrival, rate, channels, members, zipf: 0.0 }
    }

    #[test]
    fn all_arrivals_keep_the_rate_and_rise() {
        for arrival in [Arrival::Constant, Arrival::Poisson, Arrival::Bursts] {
            let planned = plan(&[stream(arrival, 1_000.0, (10, 3))], 100.0, 42);
            let off = (planned.len() as f64 - 100_000.0).abs();
            // 5 standard deviations of a Poisson count; bursts of 8 spread sqrt(8) times as far.
            assert!(off < 4_600.0, "{arrival:?}: {}", planned.len());
            assert!(arrival == Arrival::Bursts || off < 1_600.0, "{arrival:?}: {}", planned.len());
            assert!(planned.is_sorted_by_key(|message| message.offset_ns));
            assert!(planned.iter().all(|message| message.channel < 10 && message.member < 3));
        }
    }

    #[test]
    fn poisson_gaps_spread_like_an_exponential() {
        let planned = plan(&[stream(Arrival::Poisson, 1_000.0, (1, 1))], 100.0, 7);
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
        let planned = |seed| plan(&[stream(Arrival::Poisson, 100.0, (50, 10))], 2.0, seed);
        assert_eq!(planned(1), planned(1));
        assert_ne!(planned(1), planned(2));
    }

    #[test]
    fn a_stream_is_planned_alike_with_and_without_another() {
        let talk = stream(Arrival::Poisson, 100.0, (50, 10));
        let other = Stream { number: 1, ..stream(Arrival::Bursts, 80.0, (3, 2)) };
        let both = plan(&[talk, other], 5.0, 9);
        assert!(both.is_sorted_by_key(|message| message.offset_ns));
        let of_talk: Vec<Planned> = both.into_iter().filter(|m| m.stream == 0).collect();
        assert_eq!(of_talk, plan(&[talk], 5.0, 9));
    }

    #[test]
    fn all_channels_and_members_get_their_turn() {
        let planned = plan(&[stream(Arrival::Constant, 1_000.0, (100, 10))], 10.0, 3);
        for channel in 0..100 {
            assert!(planned.iter().any(|message| message.channel == channel));
        }
        for member in 0..10 {
            assert!(planned.iter().any(|message| message.member == member));
        }
    }

    #[test]
    fn on_each_beat_every_channel_gets_one() {
        let planned = plan(&[stream(Arrival::Together, 20.0, (10, 3))], 5.0, 3);
        assert_eq!(planned.len(), 100);
        for beat in planned.chunks(10) {
            assert!(beat.iter().all(|message| message.offset_ns == beat[0].offset_ns));
            assert!(beat.iter().map(|message| message.channel).eq(0..10));
        }
    }

    #[test]
    fn by_rank_the_first_channel_gets_ten_times_what_the_tenth_gets() {
        let zipf = Stream { zipf: 1.0, ..stream(Arrival::Constant, 10_000.0, (100, 2)) };
        let planned = plan(&[zipf], 100.0, 5);
        let count = |channel| planned.iter().filter(|m| m.channel == channel).count() as f64;
        let ratio = count(0) / count(9);
        assert!((9.0..11.0).contains(&ratio), "{ratio}");
        assert!(count(99) > 0.0);
    }
}
