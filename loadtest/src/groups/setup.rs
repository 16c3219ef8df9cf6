//! Makes the channels of a run: the first member of each is its owner and invites the others.

use std::collections::VecDeque;
use std::time::Duration;

use damso_proto::client::{Answer, Ask};
use damso_proto::id::Key;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind;

use super::desk::{Answered, Asked};
use super::order::Report;
use super::worker::{WorkError, Worker};
use crate::engine::poll::{now_ns, unix_ms};

/// Set-up requests under way at once.
const ASKING_MAX: usize = 32;
/// People invited when a group is made; the others are added one by one.
const INVITED_MAX: u32 = 100;
/// How long set-up may stand still.
const STALL: Duration = Duration::from_secs(20);
/// How long members may take to hear that they are in, after the last one did.
const TELL: Duration = Duration::from_secs(3);

/// A channel to be made, or a member to be added to it.
#[derive(Clone, Copy)]
struct Step {
    channel: u32,
    add: Option<u32>,
}

impl Worker {
    /// The connection that is member `member` of channel `channel`, by index.
    pub(super) fn member(&self, channel: u32, member: u32) -> u32 {
        let slot = u64::from(channel) * u64::from(self.config.members) + u64::from(member);
        (slot % u64::from(self.config.connections)) as u32
    }

    /// A new idempotency key.
    pub(super) fn key(&mut self) -> Key {
        let (high, low) = (self.random.bits().to_le_bytes(), self.random.bits().to_le_bytes());
        let mut bits = [0; 10];
        bits[..8].copy_from_slice(&high);
        bits[8..].copy_from_slice(&low[..2]);
        Key::new(unix_ms(), bits)
    }

    pub(super) fn group(&mut self) -> Result<Report, WorkError> {
        let started = now_ns();
        let channels = self.config.channels;
        self.channels = vec![0; channels as usize];
        let mut steps: VecDeque<Step> =
            (0..channels).map(|channel| Step { channel, add: None }).collect();
        let mut asking = 0_usize;
        let mut progress_ns = started;
        while asking > 0 || !steps.is_empty() {
            while asking < ASKING_MAX
                && let Some(step) = steps.pop_front()
            {
                self.take_step(step)?;
                asking += 1;
            }
            self.turn(Some(progress_ns + STALL.as_nanos() as u64))?;
            for (_, asked, answered) in std::mem::take(&mut self.desk.answers) {
                let Asked::Setup { channel } = asked else { continue };
                progress_ns = now_ns();
                asking -= 1;
                match answered {
                    Answered::With(Answer::Channel(info), _) => {
                        self.channels[channel as usize] = info.channel;
                        let others = self.invited() + 1..self.config.members;
                        steps.extend(others.map(|member| Step { channel, add: Some(member) }));
                    }
                    Answered::With(..) => {}
                    Answered::Refused(refusal) => {
                        return Err(WorkError::Refused(format!(
                            "making channel {channel}: code {}: {}",
                            refusal.code, refusal.text
                        )));
                    }
                }
            }
            if now_ns() - progress_ns > STALL.as_nanos() as u64 {
                return Err(WorkError::Refused(format!(
                    "{} steps of making channels are left, {asking} under way, and none was \
                     answered in {} s",
                    steps.len(),
                    STALL.as_secs()
                )));
            }
        }
        self.await_told()?;
        let seconds = (now_ns() - started) as f64 / 1e9;
        Ok(Report::Grouped { seconds, told: self.desk.told })
    }

    /// How many people are invited when a group is made.
    pub(super) fn invited(&self) -> u32 {
        INVITED_MAX.min(self.config.members - 1)
    }

    fn take_step(&mut self, Step { channel, add }: Step) -> Result<(), WorkError> {
        let kind = match add {
            None => {
                let invited = 1..=self.invited();
                let uids = invited.map(|member| self.uid(self.member(channel, member))).collect();
                Kind::CreateGroup(wire::CreateGroup { name: format!("load {channel}"), uids })
            }
            Some(member) => Kind::AddMember(wire::AddMember {
                channel: self.channels[channel as usize],
                uid: self.uid(self.member(channel, member)),
            }),
        };
        let (owner, key) = (self.member(channel, 0), self.key());
        if self.ask(owner, Ask::changing(kind, key, 0), Asked::Setup { channel }) {
            return Ok(());
        }
        let why = self.desk.ran.closings.join("; ");
        Err(WorkError::Unreachable(format!("the owner of channel {channel} is gone: {why}")))
    }

    /// Waits until every member heard that it is in, or until nobody does any more: a target may
    /// tell nobody.
    fn await_told(&mut self) -> Result<(), WorkError> {
        let all = u64::from(self.config.channels) * u64::from(self.config.members);
        if self.issuer.is_none() {
            return Ok(());
        }
        let mut progress = (self.desk.told, now_ns());
        while self.desk.told < all && now_ns() - progress.1 < TELL.as_nanos() as u64 {
            self.turn(Some(progress.1 + TELL.as_nanos() as u64))?;
            if self.desk.told > progress.0 {
                progress = (self.desk.told, now_ns());
            }
        }
        Ok(())
    }
}
