//! The target ends while people are connected, and they go on where it starts again.

use std::time::Duration;

use super::order::{Report, Stopped};
use super::world::{WorkError, World};
use crate::driver::Driver;
use crate::engine::poll::{SECOND_NS, now_ns};
use crate::engine::target::Target;

/// How long coming back may stand still.
const STALL: Duration = Duration::from_secs(15);
/// Attempts to come back, all people together, beyond one for each.
const LOST_MAX: u64 = 1_000;

impl<D: Driver> World<D> {
    /// A connection ended: whether that is since the target does.
    pub(super) fn it_stopped(&mut self) -> bool {
        let live = self.live as u64;
        let Some(running) = self.running.as_mut().filter(|r| now_ns() >= r.stop_ns) else {
            return false;
        };
        let begun = || Stopped { connections: live + 1, ..Stopped::default() };
        running.ran.stopped.get_or_insert_with(begun).ended += 1;
        true
    }

    /// Nobody is connected any more, and nobody is to come back in this phase.
    pub(super) fn all_stopped(&self) -> bool {
        let stopped = |running: &super::phase::Running| running.ran.stopped.is_some();
        self.live + self.opening == 0 && self.running.as_deref().is_some_and(stopped)
    }

    /// A connection's last frame came.
    pub(super) fn told_to_go(&mut self, code: u32, after_ms: u32, elsewhere: bool, now_ns: u64) {
        let Some(running) = &mut self.running else { return };
        let Some(stopped) = &mut running.ran.stopped else { return };
        *stopped.closings.entry(code).or_default() += 1;
        stopped.elsewhere += u64::from(elsewhere);
        stopped.told.record_ns(now_ns.saturating_sub(running.stop_ns));
        stopped.after.record_ns(u64::from(after_ms) * 1_000_000);
    }

    /// Everyone comes back, at the pace of the ramp, to where the target is now.
    pub(super) fn move_to(&mut self, target: Target) -> Result<Report, WorkError> {
        self.driver.move_to(target);
        let started = now_ns();
        let gap_ns = (SECOND_NS as f64 / self.config.connect_per_second) as u64;
        let all = self.conns.len();
        // Whoever was not told anything is no use any more, either.
        for conn in 0..all as u32 {
            self.take_down(conn);
        }
        let (mut begun, mut next_ns, mut progress) = (0, started, (0, started));
        let lost = self.lost;
        while self.live < all {
            if begun < all && self.opening < self.config.opening_max && now_ns() >= next_ns {
                let conn = &mut self.conns[begun];
                (conn.attempts, conn.begun_ns) = (1, next_ns);
                self.begin(begun as u32).map_err(WorkError::Unreachable)?;
                begun += 1;
                next_ns += gap_ns;
                continue;
            }
            let wake_ns = if begun < all { next_ns.max(now_ns() + 1_000_000) } else { u64::MAX };
            self.turn(Some(wake_ns))?;
            if self.live > progress.0 {
                progress = (self.live, now_ns());
            }
            let stands = now_ns() - progress.1 > STALL.as_nanos() as u64;
            if stands
                || self.lost - lost > LOST_MAX
                || (begun == all && self.opening == 0 && self.live < all)
            {
                return Err(WorkError::Unreachable(format!(
                    "{} of {all} connections came back after the restart: {}",
                    self.live,
                    self.closings.join("; ")
                )));
            }
        }
        Ok(Report::Moved { seconds: (now_ns() - started) as f64 / 1e9 })
    }
}
