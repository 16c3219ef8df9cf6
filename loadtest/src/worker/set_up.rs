//! Makes the channels of a run, a bounded number of steps at a time.

use std::time::Duration;

use super::order::Report;
use super::world::{WorkError, World};
use crate::driver::Driver;
use crate::engine::poll::now_ns;

/// Steps under way at once.
const STEPS_MAX: u64 = 32;
/// How long set-up may stand still.
const STALL: Duration = Duration::from_secs(20);
/// How long members may take to hear that they are in, after the last step was answered.
const TELL: Duration = Duration::from_secs(10);

impl<D: Driver> World<D> {
    pub(super) fn set_up(&mut self) -> Result<Report, WorkError> {
        let started = now_ns();
        let mut progress = (self.settled, started);
        let mut taken = 0;
        loop {
            while taken - self.settled < STEPS_MAX
                && let Some(asker) = self.driver.next_step()
            {
                if !self
                    .say(asker, |driver, talk, now, out| driver.take_step(asker, talk, now, out))
                {
                    let why = self.closings.join("; ");
                    return Err(WorkError::Unreachable(format!(
                        "connection {asker} is gone: {why}"
                    )));
                }
                taken += 1;
            }
            if taken == self.settled {
                break;
            }
            self.turn(Some(progress.1 + STALL.as_nanos() as u64))?;
            if self.settled > progress.0 {
                progress = (self.settled, now_ns());
            } else if now_ns() - progress.1 > STALL.as_nanos() as u64 {
                return Err(WorkError::Refused(format!(
                    "{} steps of making channels are under way, and none was answered in {} s",
                    taken - self.settled,
                    STALL.as_secs()
                )));
            }
        }
        let until = now_ns() + TELL.as_nanos() as u64;
        while !self.driver.settled() && now_ns() < until {
            self.turn(Some(until))?;
        }
        if !self.driver.settled() {
            return Err(WorkError::Refused(format!(
                "not every member heard of their channels within {} s",
                TELL.as_secs()
            )));
        }
        Ok(Report::SetUp { seconds: (now_ns() - started) as f64 / 1e9 })
    }
}
