//! One phase: what was planned is sent when it was planned, whatever became of the rest.

use damso_proto::client::Ask;
use damso_proto::id::ChannelNo;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind;
use rustix::time::{ClockId, clock_gettime};

use super::desk::{Asked, PAYLOAD_TYPE, Sent};
use super::order::{Phase, Ran, Report};
use super::worker::{WorkError, Worker};
use crate::checker::{BodyHash, Observation, SessionNo};
use crate::engine::payload::{Payload, Tag};
use crate::engine::poll::now_ns;
use crate::schedule::{Stream, plan};

/// CPU time of this process, nanoseconds.
fn own_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Worker {
    pub(super) fn run_phase(&mut self, phase: Phase) -> Result<Report, WorkError> {
        let stream = Stream {
            number: 0,
            arrival: phase.arrival,
            rate: phase.rate,
            channels: self.config.channels,
            members: self.config.members,
            zipf: 0.0,
        };
        let messages = plan(&[stream], phase.seconds, phase.seed);
        let planned = messages.len();
        self.desk.phase = phase.number;
        self.desk.sent = Vec::with_capacity(planned);
        self.desk.ran = Ran { planned: planned as u64, ..Ran::default() };
        self.desk.unanswered = 0;
        self.desk.missing = 0;
        let moved = self.moved_bytes();
        // Served until then, too: the other workers are still getting ready.
        while now_ns() < phase.start_ns {
            self.turn(Some(phase.start_ns))?;
        }
        let cpu_ns = own_cpu_ns();
        self.start_ns = phase.start_ns;
        self.planned_at = 0;
        self.plan = messages;
        while let Some(next) = self.plan.get(self.planned_at) {
            self.turn(Some(phase.start_ns + next.offset_ns))?;
        }
        self.plan = Vec::new();
        let end_ns = phase.start_ns + ((phase.seconds + phase.drain_seconds) * 1e9) as u64;
        while (self.desk.unanswered > 0 || self.desk.missing > 0) && now_ns() < end_ns {
            self.turn(Some(end_ns))?;
        }
        let own_cpu_ns = own_cpu_ns() - cpu_ns;
        let bytes = self.moved_bytes();
        let ran = &mut self.desk.ran;
        ran.own_cpu_ns = own_cpu_ns;
        // A connection that was lost takes its count with it.
        ran.bytes_in = bytes.0.saturating_sub(moved.0);
        ran.bytes_out = bytes.1.saturating_sub(moved.1);
        let refused: u64 = ran.refused.values().sum();
        ran.expected = (ran.sent - refused) * u64::from(self.config.members);
        ran.seconds = self.desk.heard_ns.saturating_sub(phase.start_ns) as f64 / 1e9;
        Ok(Report::Ran(Box::new(std::mem::take(ran))))
    }

    /// Sends every message whose time has come.
    pub(super) fn send_due(&mut self) {
        while let Some(message) = self.plan.get(self.planned_at).copied() {
            let intended_ns = self.start_ns + message.offset_ns;
            let now = now_ns();
            if now < intended_ns {
                return;
            }
            self.planned_at += 1;
            self.send(message.channel, message.member, intended_ns, now);
        }
    }

    fn send(&mut self, channel: u32, member: u32, intended_ns: u64, now: u64) {
        let conn = self.member(channel, member);
        let number = self.desk.sent.len() as u32;
        let phase = self.desk.phase;
        let payload = Payload {
            run: self.config.run,
            intended_ns,
            tag: Tag { phase: phase as u16, stream: 0, number },
        };
        let custom = wire::Custom {
            r#type: PAYLOAD_TYPE.into(),
            body: payload.encode(self.config.payload_bytes).into(),
        };
        let body = BodyHash::of_custom(&custom);
        let key = self.key();
        let at = ChannelNo::new(self.channels[channel as usize]);
        let send = wire::Send {
            channel: at.get(),
            content: Some(wire::send::Content::Custom(custom)),
            ..Default::default()
        };
        let missing = self.config.members;
        self.desk.sent.push(Sent { intended_ns, sent_ns: now, missing, answered: false });
        self.desk.ran.lateness.record_ns(now - intended_ns);
        self.desk.unanswered += 1;
        self.desk.missing += u64::from(missing);
        self.desk.ran.sent += 1;
        let sender = self.desk.users.get(conn as usize).copied().unwrap_or_default();
        self.desk.checker.observe(Observation::Sent {
            sender,
            session: SessionNo(conn.into()),
            channel: at,
            key,
            body,
        });
        let asked = Asked::Send { phase, number, channel: at, key };
        if !self.ask(conn, Ask::changing(Kind::Send(send), key, 0), asked) {
            self.desk.ran.sent -= 1;
            self.desk.ran.unsent += 1;
            self.desk.unanswered -= 1;
            self.desk.missing -= u64::from(missing);
        }
    }
}
