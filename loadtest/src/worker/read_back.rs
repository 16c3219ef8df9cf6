//! Reads every channel back from history, and lets the checker judge.

use std::time::Duration;

use super::order::Report;
use super::world::{WorkError, World};
use crate::driver::Driver;
use crate::engine::poll::now_ns;
use crate::report::model::Verdict;

/// Channels being read at once.
const READING_MAX: usize = 16;
/// How long reading may stand still.
const STALL: Duration = Duration::from_secs(20);

impl<D: Driver> World<D> {
    pub(super) fn judge(&mut self, history: bool) -> Result<Report, WorkError> {
        let mut verdict = Verdict::default();
        if history && self.driver.abilities().history {
            self.read_all_back(&mut verdict)?;
        }
        let live: Vec<bool> = self.conns.iter().map(|conn| conn.live).collect();
        let checked = self.driver.check(&live);
        let wrongs = std::mem::take(&mut self.wrongs);
        verdict.lost = wrongs.lost;
        verdict.duplicated = wrongs.duplicated;
        verdict.reordered = wrongs.reordered;
        verdict.corrupted = wrongs.corrupted;
        verdict.witnesses = wrongs.witnesses;
        verdict.laws = checked.laws;
        verdict.checker = checked.text;
        if self.lost > 0 {
            // After the last phase nobody else tells of it.
            verdict.laws.insert("ConnectionLost".into(), self.lost);
            verdict.checker.push_str(&self.closings.join("\n"));
        }
        let wrong = verdict.lost + verdict.duplicated + verdict.reordered + verdict.corrupted;
        verdict.passed = wrong == 0 && verdict.laws.is_empty();
        Ok(Report::Judged(verdict))
    }

    fn read_all_back(&mut self, verdict: &mut Verdict) -> Result<(), WorkError> {
        let channels = self.layout.channels();
        let (mut begun, mut reading, mut progress_ns) = (0, 0_usize, now_ns());
        self.read_back.clear();
        while reading > 0 || begun < channels {
            while reading < READING_MAX && begun < channels {
                reading += usize::from(self.read_on(begun, 0));
                begun += 1;
            }
            if reading > 0 {
                self.turn(Some(now_ns() + STALL.as_nanos() as u64))?;
            }
            for (channel, rows, next) in std::mem::take(&mut self.read_back) {
                progress_ns = now_ns();
                verdict.rows_read += u64::from(rows);
                match next {
                    Some(after) => reading -= usize::from(!self.read_on(channel, after)),
                    None => {
                        reading -= 1;
                        verdict.channels_read += 1;
                    }
                }
            }
            if now_ns() - progress_ns > STALL.as_nanos() as u64 {
                return Err(WorkError::Refused(format!(
                    "history of {reading} channels did not answer in {} s",
                    STALL.as_secs()
                )));
            }
        }
        Ok(())
    }

    /// Asks for what is behind `after`. `false`: nobody is there to ask.
    fn read_on(&mut self, channel: u32, after: u64) -> bool {
        let mut members = self.layout.members(channel);
        members.any(|conn| {
            self.say(conn, |driver, talk, now, out| {
                driver.read_back(conn, talk, channel, after, now, out);
            })
        })
    }
}
