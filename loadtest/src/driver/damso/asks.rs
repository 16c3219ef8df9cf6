//! What is asked of the server.

use damso_proto::client::Ask;
use damso_proto::id::{ChannelNo, Key, UserNo};
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind;
use damso_proto::wire::read_history::Direction;

use super::Damso;
use super::person::{Asked, Pending};
use super::session::{Talk, moment, session_no};
use crate::checker::{BodyHash, Observation};
use crate::engine::payload::{Payload, Tag};
use crate::engine::poll::unix_ms;
use crate::scenario::Kind as Sort;

/// The name of a load message's custom content.
pub(super) const PAYLOAD_TYPE: &str = "load/1";
/// People invited when a channel is made, and added by each command afterwards.
pub(super) const INVITED_MAX: u32 = 100;

/// A channel to be made, or members to be added to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) channel: u32,
    /// The first of them.
    pub(super) add: Option<u32>,
}

/// Where an answer goes.
pub(super) struct Line<'l> {
    pub(super) conn: u32,
    pub(super) talk: &'l mut Talk,
    pub(super) now_ns: u64,
    pub(super) out: &'l mut Vec<u8>,
}

impl Damso {
    pub(super) fn uid(&self, person: u32) -> String {
        format!("load-{:x}-{}-{person}", self.setting.run, self.setting.worker)
    }

    /// A new idempotency key.
    pub(super) fn key(&mut self) -> Key {
        let (high, low) = (self.random.bits().to_le_bytes(), self.random.bits().to_le_bytes());
        let mut bits = [0; 10];
        bits[..8].copy_from_slice(&high);
        bits[8..].copy_from_slice(&low[..2]);
        Key::new(unix_ms(), bits)
    }

    pub(super) fn ask(&mut self, line: &mut Line<'_>, ask: Ask, asked: Asked) {
        let id = line.talk.conn.ask(ask, moment(line.now_ns), line.out);
        self.people[line.conn as usize].ask(id.get(), asked);
    }

    /// How many people are invited when a group is made.
    pub(super) fn invited(&self, channel: u32) -> u32 {
        INVITED_MAX.min(self.setting.layout.class(channel).members - 1)
    }

    pub(super) fn step(&mut self, line: &mut Line<'_>) {
        let Some(Step { channel, add }) = self.steps.pop_front() else { return };
        let layout = &self.setting.layout;
        let uid = |at| self.uid(layout.member(channel, at));
        let class = layout.class(channel);
        let kind = match add {
            None if class.kind == Sort::Direct => {
                Kind::OpenDirect(wire::OpenDirect { uid: uid(1) })
            }
            None => Kind::CreateChannel(wire::CreateChannel {
                name: format!("load {channel}"),
                uids: (1..=self.invited(channel)).map(uid).collect(),
                kind: match class.kind {
                    Sort::Broadcast => wire::ChannelKind::Broadcast.into(),
                    Sort::Group | Sort::Direct => wire::ChannelKind::Group.into(),
                },
            }),
            Some(first) => Kind::AddMembers(wire::AddMembers {
                channel: self.numbers[channel as usize],
                uids: (first..class.members.min(first + INVITED_MAX)).map(uid).collect(),
                ..Default::default()
            }),
        };
        let key = self.key();
        self.ask(line, Ask::changing(kind, key, 0), Asked::Step { channel });
    }

    pub(super) fn send_new(
        &mut self,
        line: &mut Line<'_>,
        channel: u32,
        payload: Payload,
        bytes: usize,
    ) {
        let key = self.key();
        self.send_again(line, Pending { key, channel, payload, bytes, attempt: 0 });
    }

    /// Sends for the first time or, with the same key, again.
    pub(super) fn send_again(&mut self, line: &mut Line<'_>, pending: Pending) {
        let Pending { key, channel, ref payload, bytes, attempt } = pending;
        let custom =
            wire::Custom { r#type: PAYLOAD_TYPE.into(), body: payload.encode(bytes).into() };
        let number = self.numbers[channel as usize];
        let person = &self.people[line.conn as usize];
        self.watch(Observation::Sent {
            sender: UserNo::new(person.user),
            session: session_no(line.conn, line.talk),
            channel: ChannelNo::new(number),
            key,
            body: BodyHash::of_custom(&custom),
        });
        let content = Some(wire::send::Content::Custom(custom));
        let send = wire::Send { channel: number, content, ..Default::default() };
        self.ask(line, Ask::changing(Kind::Send(send), key, attempt), Asked::Send(pending));
    }

    pub(super) fn ask_page(
        &mut self,
        line: &mut Line<'_>,
        (channel, before, rows): (u32, Option<u64>, u32),
        tag: Tag,
    ) {
        let kind = Kind::ReadHistory(wire::ReadHistory {
            channel: self.numbers[channel as usize],
            seq: before.unwrap_or(0),
            direction: Direction::Before.into(),
            rows,
        });
        self.ask(line, Ask::reading(kind), Asked::Page { tag, rows: 0, from: 0 });
    }

    /// Reads `from..=to`, which did not come live.
    pub(super) fn catch_up(&mut self, line: &mut Line<'_>, number: u64, from: u64, to: u64) {
        let kind = Self::behind(number, from.saturating_sub(1));
        self.ask(line, Ask::reading(kind), Asked::Behind { number, from, to });
    }

    pub(super) fn ask_back(&mut self, line: &mut Line<'_>, channel: u32, after: u64) {
        let kind = Self::behind(self.numbers[channel as usize], after);
        self.ask(line, Ask::reading(kind), Asked::Back { channel, rows: 0 });
    }

    fn behind(number: u64, seq: u64) -> Kind {
        let direction = Direction::After.into();
        Kind::ReadHistory(wire::ReadHistory { channel: number, seq, direction, rows: 0 })
    }
}
