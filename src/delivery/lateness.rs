//! Whether work has been waiting for too long, for too long.
//!
//! Some work always waits: for the run in front of it, which a slow disk keeps for a
//! while. That is no overload as long as it then leaves. So the oldest work that waits
//! must have been late without a break.

use std::collections::VecDeque;

use damso_proto::time::Moment;

use super::mail::Work;
use crate::model::limits;

/// When the message came that has been waiting for longest.
pub(super) fn oldest(waiting: &VecDeque<Work>) -> Option<Moment> {
    waiting.iter().find_map(|work| match work {
        Work::Event(submission) => Some(submission.queued_at),
        Work::Change(_) | Work::Row { .. } | Work::Settle { .. } => None,
    })
}

/// See the module's text.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Lateness {
    /// Something late has been waiting since then, without a break.
    since: Option<Moment>,
}

impl Lateness {
    /// Looks at the oldest work that waits, by when it came. Called whenever some leaves or comes.
    pub(super) fn look(&mut self, oldest: Option<Moment>, now: Moment) {
        let late_at = oldest.map(|oldest| oldest.plus(limits::WAITING_AGE_MAX));
        let late_at = late_at.filter(|at| *at <= now);
        self.since = late_at.map(|at| self.since.unwrap_or(at));
    }

    /// Whether new work must not come on top.
    pub(super) fn is_overload(&self, now: Moment) -> bool {
        self.since.is_some_and(|since| now.since(since) >= limits::WAITING_LATE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Moment {
        Moment::from_micros(ms * 1_000)
    }

    #[test]
    fn only_what_stays_late_is_overload() {
        let mut lateness = Lateness::default();
        let mut look = |oldest: Option<u64>, now: u64| {
            lateness.look(oldest.map(ms), ms(now));
            lateness.is_overload(ms(now))
        };
        assert!(!look(Some(0), 99) && !look(Some(0), 100) && !look(Some(0), 1_099));
        assert!(look(Some(0), 1_100));
        // The next one has come later, and waits too long as well.
        assert!(look(Some(1_000), 1_101));
        assert!(!look(Some(1_050), 1_102), "what waits now is not late");
        assert!(!look(Some(1_050), 1_200) && !look(None, 2_000), "a break");
        assert!(!look(Some(1_900), 2_000) && !look(Some(1_900), 2_999));
        assert!(look(Some(1_900), 3_000));
    }
}
