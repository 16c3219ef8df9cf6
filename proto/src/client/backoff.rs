//! When to try again: soon the first time, then ever later and never in step with others.

use std::time::Duration;

/// The first retry comes within this, since most losses are one lost connection.
const FIRST_MAX: Duration = Duration::from_millis(250);
/// Decorrelated jitter: each delay is random between this and three times the last one.
const BASE: Duration = Duration::from_millis(500);
/// No delay of our own is longer.
const CAP: Duration = Duration::from_secs(30);

/// Where random numbers come from: the caller's, so that a test can repeat a run.
pub struct Random(Box<dyn FnMut() -> u64 + Send>);

impl Random {
    /// `source` must be unpredictable in production: keys are made of it.
    pub fn new(source: impl FnMut() -> u64 + Send + 'static) -> Self {
        Self(Box::new(source))
    }

    /// A repeatable sequence, for tests and simulation.
    pub fn seeded(mut seed: u64) -> Self {
        // SplitMix64: every seed gives a full-period, well-mixed sequence.
        Self::new(move || {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = seed;
            mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ mixed >> 31
        })
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        (self.0)()
    }

    /// Uniform in `from..=to`, in microseconds.
    pub(super) fn between(&mut self, from: Duration, to: Duration) -> Duration {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let span = micros(to).saturating_sub(micros(from)).saturating_add(1);
        from + Duration::from_micros(self.number() % span)
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random")
    }
}

/// Delays between attempts at one thing.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Backoff {
    last: Option<Duration>,
    attempts: u32,
}

impl Backoff {
    /// How long to wait before the next attempt.
    pub(super) fn delay(&mut self, random: &mut Random) -> Duration {
        self.attempts = self.attempts.saturating_add(1);
        let (delay, kept) = match self.last {
            None => (random.between(Duration::ZERO, FIRST_MAX), BASE),
            Some(last) => {
                let delay = random.between(BASE, (last * 3).min(CAP));
                (delay, delay)
            }
        };
        self.last = Some(kept);
        delay
    }

    /// At least `asked` and at most twice that: what a server asks for spreads its clients.
    pub(super) fn delay_asked(&mut self, asked: Duration, random: &mut Random) -> Duration {
        let own = self.delay(random);
        if asked.is_zero() { own } else { asked + random.between(Duration::ZERO, asked) }
    }

    /// Attempts since the last success.
    pub(super) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The thing works again.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_retry_is_soon_and_no_later_one_leaves_its_bounds() {
        for seed in 0..200 {
            let mut random = Random::seeded(seed);
            let mut backoff = Backoff::default();
            assert!(backoff.delay(&mut random) <= FIRST_MAX);
            for attempt in 2..40 {
                let delay = backoff.delay(&mut random);
                assert!((BASE..=CAP).contains(&delay), "attempt {attempt}: {delay:?}");
            }
        }
    }

    #[test]
    fn delays_of_many_clients_spread() {
        let tenth_delay = |seed| {
            let mut random = Random::seeded(seed);
            let mut backoff = Backoff::default();
            let tenth = (0..10).map(|_| backoff.delay(&mut random)).last();
            tenth.map(|delay| delay.as_millis() / 1000)
        };
        let seconds: std::collections::BTreeSet<_> = (0..300).map(tenth_delay).collect();
        assert!(seconds.len() > 20, "300 clients come back within {} seconds", seconds.len());
    }

    #[test]
    fn a_server_that_names_a_time_is_not_asked_earlier() {
        let asked = Duration::from_secs(4);
        for seed in 0..100 {
            let delay = Backoff::default().delay_asked(asked, &mut Random::seeded(seed));
            assert!((asked..=asked * 2).contains(&delay), "{delay:?}");
        }
    }
}
