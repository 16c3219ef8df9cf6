//! Until when a request is worth starting.

use std::time::Duration;

use damso_proto::time::Moment;

/// The last moment at which a request may begin, if there is one.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Deadline(Option<Moment>);

impl Deadline {
    /// However late: for what has begun already, and for what is nobody's request.
    pub const NONE: Self = Self(None);

    /// `ms` milliseconds after the request arrived; 0: [`Deadline::NONE`].
    pub fn after(arrived: Moment, ms: u32) -> Self {
        Self((ms > 0).then(|| arrived.plus(Duration::from_millis(ms.into()))))
    }

    /// Whether what would begin `now` comes too late.
    pub fn is_past(self, now: Moment) -> bool {
        self.0.is_some_and(|last| now > last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_in_its_last_moment_is_in_time_and_zero_is_never_too_late() {
        let at = Moment::from_micros;
        for (ms, now, past) in [
            (2, at(1_000), false),
            (2, at(3_000), false),
            (2, at(3_001), true),
            (0, at(u64::MAX), false),
            (u32::MAX, at(3_001), false),
        ] {
            assert_eq!(Deadline::after(at(1_000), ms).is_past(now), past, "{ms} ms, {now:?}");
        }
        assert!(!Deadline::NONE.is_past(at(u64::MAX)));
    }
}
