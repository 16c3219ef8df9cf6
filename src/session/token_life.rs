//! How long a token lets its bearer stay: the end is told beforehand, and comes a minute late, since
//! clocks may be off by that.

use crate::model::limits::{TOKEN_SKEW_MAX, TOKEN_WARNING_MAX, millis_long};

/// Until when a token lets its bearer stay, and when they are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TokenLife {
    expires_ms: u64,
    /// Never again: they were told.
    tell_ms: u64,
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
    /// Of a token that is taken now. Times of day, milliseconds since 1970.
    pub(super) fn new(now_ms: u64, expires_ms: u64) -> Self {
        let tenth_ms = expires_ms.saturating_sub(now_ms) / 10;
        let warning_ms = tenth_ms.min(millis_long(TOKEN_WARNING_MAX));
        Self { expires_ms, tell_ms: expires_ms - warning_ms }
    }

    /// What is due. Harmless when nothing is.
    pub(super) fn due(&mut self, now_ms: u64) -> Option<Due> {
        if now_ms >= self.expires_ms.saturating_add(millis_long(TOKEN_SKEW_MAX)) {
            return Some(Due::End);
        }
        if now_ms < self.tell_ms {
            return None;
        }
        self.tell_ms = u64::MAX;
        Some(Due::Tell(self.expires_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;
    const HOUR_MS: u64 = 3_600_000;

    #[test]
    fn an_end_is_told_once_a_minute_or_a_tenth_before_and_comes_a_minute_after() {
        for (length_ms, told_ms) in
            [(HOUR_MS, HOUR_MS - 60_000), (600_000, 540_000), (60_000, 54_000), (10, 9), (0, 0)]
        {
            let mut life = TokenLife::new(NOW_MS, NOW_MS + length_ms);
            if told_ms > 0 {
                assert_eq!(life.due(NOW_MS + told_ms - 1), None, "{length_ms}");
            }
            assert_eq!(life.due(NOW_MS + told_ms), Some(Due::Tell(NOW_MS + length_ms)));
            assert_eq!(life.due(NOW_MS + told_ms), None, "once");
            assert_eq!(life.due(NOW_MS + length_ms + 59_999), None, "{length_ms}");
            assert_eq!(life.due(NOW_MS + length_ms + 60_000), Some(Due::End));
        }
        // Taken after its end, within what clocks may be off.
        let mut late = TokenLife::new(NOW_MS, NOW_MS - 30_000);
        assert_eq!(late.due(NOW_MS), Some(Due::Tell(NOW_MS - 30_000)));
        assert_eq!(late.due(NOW_MS + 30_000), Some(Due::End));
        let mut endless = TokenLife::new(NOW_MS, u64::MAX);
        assert_eq!(endless.due(NOW_MS + 100 * HOUR_MS), None);
    }
}
