//! Keys that are fetched from their issuer: what is known of them, and when to ask again.
//!
//! ```text
//! due --begin--> being fetched --done: good--> every 10 minutes, or after one if a token names
//!   ^                         \                an unknown key
//!   |                          `-done: bad---> after a minute; the last good ones stay for a day
//!   `--------------------------------------------/
//! ```
//!
//! No network and no thread: whoever has both waits in [`Fetched::wait`], and tells
//! [`Fetched::done`]. However many tokens name unknown keys, the issuer is asked once a minute.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use damso_proto::time::Moment;
use tokio::sync::watch;

use super::key::VerifyingKey;
use crate::model::limits;
use crate::runtime::clock::Clock;

/// How often keys are fetched, and how long they count.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From one good fetch to the next.
    pub every: Duration,
    /// From any fetch to the next, at least.
    pub at_least: Duration,
    /// For so long the last good keys count, whatever became of fetching.
    pub keep: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            every: limits::TOKEN_KEYS_EVERY,
            at_least: limits::TOKEN_KEYS_AT_LEAST,
            keep: limits::TOKEN_KEYS_KEPT,
        }
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Fetched {
    pace: Pace,
    /// Read by every login, written by each fetch.
    keys: RwLock<Arc<[VerifyingKey]>>,
    /// Touched by who fetches, and by logins that name an unknown key.
    state: Mutex<State>,
    woken: Condvar,
    /// Counts fetches that are over.
    over: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    begun: Option<Moment>,
    is_running: bool,
    good: Option<Moment>,
    /// The last one was good, and no token has named an unknown key since.
    is_content: bool,
    is_closed: bool,
}

/// When an unknown key may be known.
#[derive(Debug)]
pub(super) enum Asked {
    /// When this changes.
    Soon(watch::Receiver<u64>),
    /// The keys are too fresh to be fetched again.
    Later,
}

impl Fetched {
    /// Nothing is known yet, and fetching is due.
    pub fn new(pace: Pace) -> Self {
        Self {
            pace,
            keys: RwLock::new(Arc::new([])),
            state: Mutex::default(),
            woken: Condvar::new(),
            over: watch::Sender::new(0),
        }
    }

    /// Blocks until the keys are to be fetched; that has begun then. `false`: never again.
    pub fn wait(&self, clock: &dyn Clock) -> bool {
        let mut state = self.lock();
        while !state.is_closed {
            let now = clock.now();
            let wait = state.wait(&self.pace, now);
            if wait.is_zero() {
                state.begin(now);
                return true;
            }
            let woken = self.woken.wait_timeout(state, wait);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }

    /// What a fetch brought; `None`: nothing of use.
    pub fn done(&self, keys: Option<Vec<VerifyingKey>>, now: Moment) {
        let mut state = self.lock();
        state.is_running = false;
        state.is_content = keys.is_some();
        match keys {
            Some(keys) => {
                state.good = Some(now);
                self.set(keys);
            }
            None if state.good.is_some_and(|good| now.since(good) >= self.pace.keep) => {
                state.good = None;
                tracing::error!("the keys of the issuer are too old: nobody can log in with them");
                self.set(Vec::new());
            }
            None => {}
        }
        drop(state);
        self.over.send_modify(|over| *over += 1);
    }

    /// Nobody fetches any more.
    pub fn close(&self) {
        self.lock().is_closed = true;
        self.woken.notify_all();
    }

    /// The keys that count now.
    pub(super) fn keys(&self) -> Arc<[VerifyingKey]> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A token names a key that is not among them.
    pub(super) fn ask(&self, now: Moment) -> Asked {
        let mut state = self.lock();
        if std::mem::take(&mut state.is_content) {
            // Whoever fetches waits for less now.
            self.woken.notify_all();
        }
        if state.is_running || state.wait(&self.pace, now).is_zero() {
            Asked::Soon(self.over.subscribe())
        } else {
            Asked::Later
        }
    }

    fn set(&self, keys: Vec<VerifyingKey>) {
        metrics::gauge!("damso_token_keys_fetched").set(keys.len() as f64);
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How long until the next fetch may begin.
    fn wait(&self, pace: &Pace, now: Moment) -> Duration {
        let Some(begun) = self.begun else { return Duration::ZERO };
        let pause = if self.is_content { pace.every } else { pace.at_least };
        pause.saturating_sub(now.since(begun))
    }

    fn begin(&mut self, now: Moment) {
        self.begun = Some(now);
        self.is_running = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::clock::ManualClock;
    use crate::session::token::key::Public;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn key(n: u8) -> VerifyingKey {
        VerifyingKey { kid: Some(n.to_string()), public: Public::Ed25519([n; 32]) }
    }

    /// One fetch, if it is due now.
    fn fetch(fetched: &Fetched, clock: &ManualClock, keys: Option<Vec<VerifyingKey>>) -> bool {
        let now = clock.now();
        let is_due = fetched.lock().wait(&fetched.pace, now).is_zero();
        if is_due {
            fetched.lock().begin(now);
            fetched.done(keys, now);
        }
        is_due
    }

    /// Seconds of the next `length` in which keys are fetched, with `asks` tokens in each.
    fn fetches(fetched: &Fetched, length: Duration, asks: usize, good: bool) -> Vec<u64> {
        let clock = ManualClock::new(0);
        let mut seconds = Vec::new();
        for second in 0..length.as_secs() {
            for _ in 0..asks {
                fetched.ask(clock.now());
            }
            if fetch(fetched, &clock, good.then(|| vec![key(1)])) {
                seconds.push(second);
            }
            clock.advance(SECOND);
        }
        seconds
    }

    #[test]
    fn good_keys_are_fetched_every_ten_minutes_and_after_a_failure_every_minute() {
        let new = || Fetched::new(Pace::default());
        assert_eq!(fetches(&new(), 25 * MINUTE, 0, true), [0, 600, 1_200]);
        assert_eq!(fetches(&new(), 3 * MINUTE, 0, false), [0, 60, 120]);
    }

    #[test]
    fn a_flood_of_unknown_keys_makes_one_fetch_a_minute() {
        for good in [true, false] {
            let seconds = fetches(&Fetched::new(Pace::default()), 5 * MINUTE, 1_000, good);
            assert_eq!(seconds, [0, 60, 120, 180, 240], "good: {good}");
        }
    }

    #[test]
    fn the_last_good_keys_count_for_a_day() {
        let (fetched, clock) = (Fetched::new(Pace::default()), ManualClock::new(0));
        assert!(fetch(&fetched, &clock, Some(vec![key(1), key(2)])));
        let end = clock.now().plus(limits::TOKEN_KEYS_KEPT);
        clock.advance(limits::TOKEN_KEYS_EVERY);
        while clock.now() < end {
            assert_eq!(fetched.keys().len(), 2, "{:?}", clock.now());
            fetch(&fetched, &clock, None);
            clock.advance(MINUTE);
        }
        fetch(&fetched, &clock, None);
        assert_eq!(fetched.keys().len(), 0);
        clock.advance(MINUTE);
        assert!(fetch(&fetched, &clock, Some(vec![key(3)])));
        assert_eq!(*fetched.keys(), [key(3)], "and come back");
    }

    #[test]
    fn whoever_asks_hears_of_the_fetch_under_way_or_that_it_is_too_early() {
        let (fetched, clock) = (Fetched::new(Pace::default()), ManualClock::new(0));
        let Asked::Soon(before) = fetched.ask(clock.now()) else { panic!("it is due") };
        fetched.lock().begin(clock.now());
        let Asked::Soon(within) = fetched.ask(clock.now()) else { panic!("it is under way") };
        fetched.done(Some(vec![key(1)]), clock.now());
        assert!([before, within].iter().all(|over| over.has_changed().unwrap()));
        assert!(matches!(fetched.ask(clock.now()), Asked::Later));
        clock.advance(MINUTE);
        assert!(matches!(fetched.ask(clock.now()), Asked::Soon(_)));
    }

    #[test]
    fn a_close_ends_the_wait() {
        let fetched = Arc::new(Fetched::new(Pace::default()));
        let clock = ManualClock::new(0);
        assert!(fetched.wait(&clock), "due at once");
        fetched.done(None, clock.now());
        let waits = fetched.clone();
        let waiting = std::thread::spawn(move || waits.wait(&clock));
        fetched.close();
        assert!(!waiting.join().unwrap());
    }
}
