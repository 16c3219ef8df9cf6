//! Which time of day to believe.
//!
//! Far forward is dangerous, since it cannot be taken back: a time of day that leaps by
//! more than a minute against the boot clock is not followed before the two have agreed
//! on it for a minute.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::runtime::clock::Readings;

/// A leap forward by more than this is not followed at once.
const LEAP_MS_MAX: i64 = 60_000;
/// For so long must the clocks agree on a leap before it is followed.
const AGREEMENT_MS: u64 = 60_000;
/// Two offsets that differ by no more than this agree: slewing is slower than that.
const AGREEMENT_TOLERANCE_MS: i64 = 1_000;
/// No offset was accepted, or none is under suspicion.
const NO_OFFSET: i64 = i64::MIN;

/// Follows the time of day, except where it leaps forward.
///
/// The offsets are of time of day against boot clock, milliseconds. All three numbers
/// are read and written without a lock: a race between two minting threads can delay
/// trust, and can grant it early only if one of them slept for a minute in between.
#[derive(Debug)]
pub(super) struct LeapGuard {
    /// What is followed now.
    accepted: AtomicI64,
    /// A leap that is watched.
    suspected: AtomicI64,
    /// Boot clock when the suspicion began.
    since_boot_ms: AtomicU64,
    leaps: AtomicU64,
}

impl LeapGuard {
    pub(super) fn new() -> Self {
        Self {
            accepted: AtomicI64::new(NO_OFFSET),
            suspected: AtomicI64::new(NO_OFFSET),
            since_boot_ms: AtomicU64::new(0),
            leaps: AtomicU64::new(0),
        }
    }

    /// The time to mint by, milliseconds since 1970.
    pub(super) fn follow(&self, now: Readings) -> u64 {
        let offset = now.unix_ms.cast_signed().saturating_sub(now.boot_ms.cast_signed());
        let accepted = self.accepted.load(Ordering::Relaxed);
        if accepted == NO_OFFSET || offset <= accepted.saturating_add(LEAP_MS_MAX) {
            // Stored only when they change: the generator's cache line stays shared.
            if offset != accepted {
                self.accepted.store(offset, Ordering::Relaxed);
            }
            if self.suspected.load(Ordering::Relaxed) != NO_OFFSET {
                self.suspected.store(NO_OFFSET, Ordering::Relaxed);
            }
            return now.unix_ms;
        }
        self.follow_leap(now, offset, accepted)
    }

    /// How often a suspicion began.
    pub(super) fn leaps(&self) -> u64 {
        self.leaps.load(Ordering::Relaxed)
    }

    #[cold]
    fn follow_leap(&self, now: Readings, offset: i64, accepted: i64) -> u64 {
        let suspected = self.suspected.load(Ordering::Acquire);
        let agrees = suspected != NO_OFFSET
            && offset.abs_diff(suspected) <= AGREEMENT_TOLERANCE_MS.unsigned_abs();
        if !agrees {
            if suspected == NO_OFFSET {
                self.leaps.fetch_add(1, Ordering::Relaxed);
            }
            // Before the offset, so that nobody pairs the new offset with an old beginning.
            self.since_boot_ms.fetch_max(now.boot_ms, Ordering::Relaxed);
            self.suspected.store(offset, Ordering::Release);
        } else if now.boot_ms.saturating_sub(self.since_boot_ms.load(Ordering::Relaxed))
            >= AGREEMENT_MS
        {
            self.accepted.store(offset, Ordering::Relaxed);
            self.suspected.store(NO_OFFSET, Ordering::Relaxed);
            return now.unix_ms;
        }
        now.boot_ms.saturating_add_signed(accepted)
    }
}
