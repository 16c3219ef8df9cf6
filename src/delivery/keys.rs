//! Recent idempotency keys of one channel.
//!
//! The window holds *every* key of the channel made at or after its horizon, so a
//! younger key that is not here was never stored; only an older one asks the store.
//! The horizon rises when keys are dropped to keep the window small.

use std::collections::VecDeque;

use damso_proto::id::{Key, MessageId, Seq, UserNo};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use crate::model::body::BodyHash;
use crate::runtime::route::Route;
use crate::store::log::{KeyRow, NewKey};

/// Kept however old they are: few, since there is a window for each channel at work.
const KEPT_MIN: usize = 16;
/// Never more, however young.
const KEPT_MAX: usize = 512;
/// Kept up to `KEPT_MAX` while younger than this: a reconnect's worth of resends.
const KEPT_MS: u64 = 2_000;
/// Copies of one key that may wait for its first commit.
const WAITERS_MAX: usize = 16;

/// What the window knows of a key.
#[derive(Debug)]
pub(super) enum Known {
    /// Surely never stored.
    Fresh,
    /// Older than the horizon: the store knows.
    AskStore,
    /// Stored: the answer of the first time.
    Stored(KeyRow),
    /// The first copy is on its way; this one was noted and is answered with it.
    Joined,
    /// The first copy is on its way and too many wait for it already.
    Crowded,
    /// The key stands for another body.
    Reused,
}

#[derive(Debug)]
enum Entry {
    InFlight { body: BodyHash, waiters: Vec<Route> },
    Stored { body: BodyHash, seq: Seq, id: MessageId },
}

/// See the module's text.
pub(super) struct KeyWindow {
    entries: HashMap<(UserNo, Key), Entry, FixedState>,
    stored: VecDeque<(UserNo, Key)>,
    /// Older than the horizon, and the store has just said that it holds none of them.
    absent: HashSet<(UserNo, Key), FixedState>,
    horizon_ms: u64,
}

impl KeyWindow {
    /// A window that starts from what the store returned at open.
    pub(super) fn new(rows: Vec<KeyRow>, horizon_ms: u64) -> Self {
        let mut window = Self {
            entries: HashMap::default(),
            stored: VecDeque::new(),
            absent: HashSet::default(),
            horizon_ms,
        };
        for row in rows {
            window.remember(row);
        }
        window
    }

    /// What is known of `key`. A copy of a key in flight leaves its route to be answered.
    pub(super) fn ask(&mut self, key: &NewKey, route: Option<Route>) -> Known {
        match self.entries.get_mut(&(key.user, key.key)) {
            None if key.key.unix_ms() >= self.horizon_ms => Known::Fresh,
            None if self.absent.contains(&(key.user, key.key)) => Known::Fresh,
            None => Known::AskStore,
            Some(Entry::InFlight { body, .. } | Entry::Stored { body, .. })
                if *body != key.body =>
            {
                Known::Reused
            }
            Some(Entry::Stored { seq, id, .. }) => {
                Known::Stored(KeyRow { key: *key, seq: *seq, id: *id })
            }
            Some(Entry::InFlight { waiters, .. }) => match route {
                Some(_) if waiters.len() >= WAITERS_MAX => Known::Crowded,
                Some(route) => {
                    waiters.push(route);
                    Known::Joined
                }
                None => Known::Joined,
            },
        }
    }

    /// The first copy of `key` leaves for the store.
    pub(super) fn leave(&mut self, key: &NewKey) {
        let entry = Entry::InFlight { body: key.body, waiters: Vec::new() };
        self.absent.remove(&(key.user, key.key));
        self.entries.insert((key.user, key.key), entry);
    }

    /// What the store said of old keys: these are stored, and the rest of `asked` is not.
    pub(super) fn looked_up(&mut self, asked: &[NewKey], found: Vec<KeyRow>) {
        self.absent = asked.iter().map(|key| (key.user, key.key)).collect();
        for row in found {
            self.absent.remove(&(row.key.user, row.key.key));
            self.remember(row);
        }
    }

    /// The key's event is stored. Returns the copies that waited for it.
    pub(super) fn stored(&mut self, row: KeyRow, now_ms: u64) -> Vec<Route> {
        let waiters = self.take_waiters(&row.key);
        self.remember(row);
        self.forget_oldest(now_ms);
        waiters
    }

    /// The key's event is not known to be stored. Returns the copies that waited for it.
    pub(super) fn undone(&mut self, key: &NewKey) -> Vec<Route> {
        self.take_waiters(key)
    }

    fn remember(&mut self, row: KeyRow) {
        let KeyRow { key: NewKey { user, key, body }, seq, id } = row;
        let before = self.entries.insert((user, key), Entry::Stored { body, seq, id });
        if !matches!(before, Some(Entry::Stored { .. })) {
            self.stored.push_back((user, key));
        }
    }

    fn take_waiters(&mut self, key: &NewKey) -> Vec<Route> {
        match self.entries.remove(&(key.user, key.key)) {
            Some(Entry::InFlight { waiters, .. }) => waiters,
            Some(stored @ Entry::Stored { .. }) => {
                self.entries.insert((key.user, key.key), stored);
                Vec::new()
            }
            None => Vec::new(),
        }
    }

    fn forget_oldest(&mut self, now_ms: u64) {
        while let Some(&(user, key)) = self.stored.front() {
            let young = key.unix_ms().saturating_add(KEPT_MS) > now_ms;
            let keep = if young { KEPT_MAX } else { KEPT_MIN };
            if self.stored.len() <= keep {
                return;
            }
            self.stored.pop_front();
            self.entries.remove(&(user, key));
            self.horizon_ms = self.horizon_ms.max(key.unix_ms().saturating_add(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use damso_proto::id::RequestId;

    use super::*;
    use crate::runtime::route::{ConnectionId, ShardNo};

    fn key(ms: u64, body: u64) -> NewKey {
        NewKey { user: UserNo::new(1), key: Key::new(ms, [7; 10]), body: BodyHash(body) }
    }

    fn row(ms: u64) -> KeyRow {
        KeyRow { key: key(ms, 0), seq: Seq::new(ms), id: MessageId::new(ms) }
    }

    fn route() -> Route {
        let connection = ConnectionId { slot: 1, generation: 0 };
        Route { shard: ShardNo::new(0), connection, request: RequestId::new(9) }
    }

    #[test]
    fn a_copy_of_a_key_in_flight_waits_for_the_first_one() {
        let mut window = KeyWindow::new(vec![], 0);
        assert!(matches!(window.ask(&key(5, 0), None), Known::Fresh));
        window.leave(&key(5, 0));
        assert!(matches!(window.ask(&key(5, 0), Some(route())), Known::Joined));
        assert!(matches!(window.ask(&key(5, 1), Some(route())), Known::Reused));
        assert_eq!(window.stored(row(5), 5), vec![route()]);
        assert!(matches!(window.ask(&key(5, 0), None), Known::Stored(known) if known == row(5)));
    }

    #[test]
    fn a_dropped_key_is_asked_of_the_store_and_never_taken_for_fresh() {
        let mut window = KeyWindow::new(vec![], 0);
        let now = 1_000_000;
        for ms in 1..=200 {
            window.leave(&key(ms, 0));
            window.stored(row(ms), now);
        }
        for ms in 1..=200 {
            let known = window.ask(&key(ms, 0), None);
            assert!(matches!(known, Known::AskStore | Known::Stored(_)), "{ms}: {known:?}");
        }
        assert!(matches!(window.ask(&key(201, 0), None), Known::Fresh));
    }

    #[test]
    fn an_old_key_that_the_store_does_not_hold_is_fresh_once() {
        let mut window = KeyWindow::new(vec![], 100);
        assert!(matches!(window.ask(&key(5, 0), None), Known::AskStore));
        window.looked_up(&[key(5, 0), key(6, 0)], vec![row(6)]);
        assert!(matches!(window.ask(&key(6, 0), None), Known::Stored(_)));
        assert!(matches!(window.ask(&key(5, 0), None), Known::Fresh));
        window.leave(&key(5, 0));
        window.undone(&key(5, 0));
        assert!(matches!(window.ask(&key(5, 0), None), Known::AskStore));
    }
}
