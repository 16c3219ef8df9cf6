//! As many messages as are wanted, as fast as they are answered: a store to measure on.

use std::time::Duration;

use super::order::{FillOrder, Report};
use super::work::tell;
use super::world::{WorkError, World};
use crate::driver::Driver;
use crate::engine::payload::{HEADER_BYTES, Payload, Tag};
use crate::engine::poll::now_ns;

/// The phase of messages that no phase sent.
const NO_PHASE: u16 = u16::MAX;
/// The controller hears this often how far it is.
const TELL_NS: u64 = 500_000_000;
/// How long no message may be answered.
const STALL: Duration = Duration::from_secs(30);
/// How long a refused message waits: the target asked for less.
const REFUSED_NS: u64 = 20_000_000;

/// How far filling is.
#[derive(Debug, Default)]
pub(super) struct Filling {
    pub(super) acked: u64,
    pub(super) refused: u64,
    /// Refused ones that are to be sent again.
    pub(super) again: u64,
    pub(super) under_way: u64,
}

impl<D: Driver> World<D> {
    pub(super) fn fill(&mut self, order: FillOrder) -> Result<Report, WorkError> {
        self.filling = Some(Filling::default());
        let bytes = order.payload_bytes.max(HEADER_BYTES);
        let (mut sent, mut rest_until) = (0_u64, 0);
        let mut progress = (0, now_ns());
        let mut next_tell_ns = now_ns() + TELL_NS;
        while let Some(filling) = &mut self.filling {
            let now = now_ns();
            if std::mem::take(&mut filling.again) > 0 {
                rest_until = now + REFUSED_NS;
            }
            let (acked, refused, under_way) = (filling.acked, filling.refused, filling.under_way);
            if acked >= order.messages {
                break;
            }
            if acked > progress.0 {
                progress = (acked, now);
            } else if now - progress.1 > STALL.as_nanos() as u64 {
                let what =
                    format!("no message was taken in {} s; {refused} refused", STALL.as_secs());
                return Err(WorkError::Refused(what));
            }
            if now >= next_tell_ns {
                next_tell_ns = now + TELL_NS;
                tell(&Report::Filled { messages: acked, refused, done: false })?;
            }
            let open = order.messages - acked - under_way;
            let room = u64::from(order.window).saturating_sub(under_way).min(open);
            if now >= rest_until {
                for _ in 0..room {
                    self.fill_one(sent, bytes)?;
                    sent += 1;
                }
            }
            self.turn(Some(now_ns() + REFUSED_NS))?;
        }
        let filling = self.filling.take().unwrap_or_default();
        Ok(Report::Filled { messages: filling.acked, refused: filling.refused, done: true })
    }

    fn fill_one(&mut self, number: u64, bytes: usize) -> Result<(), WorkError> {
        let channel = (number % u64::from(self.layout.channels())) as u32;
        let turn = number / u64::from(self.layout.channels());
        let members = self.layout.class(channel).members;
        let conn = self.layout.member(channel, (turn % u64::from(members)) as u32);
        let tag = Tag { phase: NO_PHASE, stream: 0, number: number as u32 };
        // Told apart by number and time: no two of one sender to one channel are alike.
        let payload = Payload { run: self.config.run, intended_ns: now_ns(), tag };
        let said = self.say(conn, |driver, talk, now, out| {
            driver.send(conn, talk, channel, &payload, bytes, now, out);
        });
        if !said {
            let why = self.closings.join("; ");
            return Err(WorkError::Unreachable(format!("connection {conn} is gone: {why}")));
        }
        if let Some(filling) = &mut self.filling {
            filling.under_way += 1;
        }
        Ok(())
    }
}
