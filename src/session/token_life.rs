//! How long a token lets its bearer stay: the end is told beforehand, and comes a minute late, since
//! clocks may be off by that.
//!
//! Reckoned once, when the token is taken, and then by the clock that nobody can set: a time of
//! day that leaps would end all sessions at once, and their people would have to log in anew.

use std::time::Duration;

use damso_proto::time::Moment;

use crate::model::limits::{TOKEN_SKEW_MAX, TOKEN_WARNING_MAX};
use crate::runtime::clock::Clock;

/// Until when a token lets its bearer stay, and when they are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TokenLife {
    expires_ms: u64,
    is_told: bool,
    tell_at: Moment,
    end_at: Moment,
}

/// What a token's end calls for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// Tell that it ends then, milliseconds since 1970.
    Tell(u64),
    /// Close.
    End,
}

impl TokenLife {
    /// Of a token that is taken now, and ends at `expires_ms` since 1970.
    pub(super) fn new(clock: &dyn Clock, expires_ms: u64) -> Self {
        let (now, now_ms) = (clock.now(), clock.unix_ms());
        let left = Duration::from_millis(expires_ms.saturating_sub(now_ms));
        let late = Duration::from_millis(now_ms.saturating_sub(expires_ms));
        let warning = (left / 10).min(TOKEN_WARNING_MAX);
        let end = left.saturating_add(TOKEN_SKEW_MAX).saturating_sub(late);
        let (tell_at, end_at) = (now.plus(left - warning), now.plus(end));
        Self { expires_ms, is_told: false, tell_at, end_at }
    }

    /// What is due. Harmless when nothing is.
    pub(super) fn due(&mut self, now: Moment) -> Option<Due> {
        if now >= self.end_at {
            return Some(Due::End);
        }
        let is_due = now >= self.tell_at && !std::mem::replace(&mut self.is_told, true);
        is_due.then_some(Due::Tell(self.expires_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::clock::ManualClock;

    const NOW_MS: u64 = 1_800_000_000_000;
    const HOUR_MS: u64 = 3_600_000;

    #[test]
    fn an_end_is_told_once_a_minute_or_a_tenth_before_and_comes_a_minute_after() {
        for (length_ms, told_ms) in
            [(HOUR_MS, HOUR_MS - 60_000), (600_000, 540_000), (60_000, 54_000), (10, 9), (0, 0)]
        {
            let clock = ManualClock::new(NOW_MS);
            let mut life = TokenLife::new(&clock, NOW_MS + length_ms);
            // Whatever becomes of the time of day.
            clock.set_unix_ms(2 * NOW_MS);
            let mut due = |at_ms: u64| life.due(Moment::from_micros(at_ms * 1_000));
            if told_ms > 0 {
                assert_eq!(due(told_ms - 1), None, "{length_ms}");
            }
            assert_eq!(due(told_ms), Some(Due::Tell(NOW_MS + length_ms)), "{length_ms}");
            assert_eq!(due(told_ms), None, "once");
            assert_eq!(due(length_ms + 59_999), None, "{length_ms}");
            assert_eq!(due(length_ms + 60_000), Some(Due::End), "{length_ms}");
        }
    }

    #[test]
    fn a_token_that_is_over_stays_for_what_clocks_may_be_off_and_one_without_end_for_ever() {
        let clock = ManualClock::new(NOW_MS);
        let at = |ms: u64| Moment::from_micros(ms * 1_000);
        let mut late = TokenLife::new(&clock, NOW_MS - 30_000);
        assert_eq!(late.due(at(0)), Some(Due::Tell(NOW_MS - 30_000)));
        assert_eq!(late.due(at(29_999)), None);
        assert_eq!(late.due(at(30_000)), Some(Due::End));
        let mut endless = TokenLife::new(&clock, u64::MAX);
        assert_eq!(endless.due(at(1_000 * HOUR_MS)), None);
    }
}
