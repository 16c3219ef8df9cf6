//! A server of two people and one group over the real server's end of a connection.

use std::collections::BTreeMap;
use std::time::Duration;

use damso_proto::code::Code;
use damso_proto::frame;
use damso_proto::id::{ID_EPOCH_MS, Key, RequestId};
use damso_proto::server::{Request, Said, ServerConn, ServerOptions};
use damso_proto::time::Moment;
use damso_proto::wire::client_frame::Kind as Asked;
use damso_proto::wire::server_frame::Kind;
use damso_proto::wire::standing::State;
use damso_proto::wire::{self, event, send};

use super::samples::{ALICE, GROUP, UNIX_MS};

/// What it keeps is what was committed; its connection is what is lost.
#[derive(Default)]
pub(crate) struct Server {
    pub(crate) log: Vec<wire::Event>,
    keys: BTreeMap<Key, u64>,
    conn: Option<ServerConn>,
    cursors: BTreeMap<u64, u64>,
    pending: Vec<wire::PendingSend>,
    live: bool,
    /// Bytes on their way to alice.
    pub(crate) output: Vec<u8>,
    pub(crate) logins: u32,
    /// Outcomes say "not stored so far" of everything, as when a commit is still under way.
    unsure: bool,
    /// What is new is refused so soon after the last message: the time to wait, milliseconds.
    spacing_ms: u64,
    not_before: Moment,
    now: Moment,
    pub(crate) refused: usize,
}

impl Server {
    /// One whose outcomes say "not stored so far" of everything.
    pub(crate) fn unsure() -> Self {
        Self { unsure: true, ..Self::default() }
    }

    /// One that takes a message every so many milliseconds; known ones, always.
    pub(crate) fn slow(spacing_ms: u64) -> Self {
        Self { spacing_ms, ..Self::default() }
    }

    pub(crate) fn accept(&mut self, now: Moment) {
        self.drop_connection();
        self.conn = Some(ServerConn::new(ServerOptions::default(), now));
    }

    pub(crate) fn drop_connection(&mut self) {
        self.conn = None;
        self.live = false;
        self.output.clear();
        self.cursors.clear();
        self.pending.clear();
    }

    /// Takes what came from alice. Nothing of hers is ever a fault.
    pub(crate) fn received(&mut self, bytes: &[u8], now: Moment) {
        let mut input = bytes;
        self.now = now;
        loop {
            let Some(conn) = &mut self.conn else { return };
            match conn.next(&mut input, now).expect("the client keeps the protocol") {
                None => return,
                Some(said) => self.said(said, now),
            }
        }
    }

    /// A message of somebody's: committed, and told if alice is there.
    pub(crate) fn append(&mut self, sender: u64, text: &str) -> u64 {
        let seq = self.log.len() as u64 + 1;
        let event = wire::Event {
            channel: GROUP,
            seq,
            id: (UNIX_MS - ID_EPOCH_MS + seq) << 22,
            sender,
            content: Some(event::Content::Text(text.into())),
            ..Default::default()
        };
        self.log.push(event.clone());
        if self.live {
            self.say(Kind::Event(event), 0);
        }
        seq
    }

    fn say(&mut self, kind: Kind, id: u64) {
        let frame = wire::ServerFrame { kind: Some(kind), id, more: false };
        self.output.extend_from_slice(&frame::encode_server(&frame));
    }

    fn said(&mut self, said: Said, now: Moment) {
        match said {
            Said::Hello(_) => {
                self.logins += 1;
                self.conn.as_mut().expect("it has just spoken").accept(now);
                let welcome = wire::Welcome {
                    version: 1,
                    user: ALICE,
                    uid: "alice".into(),
                    server_time_ms: UNIX_MS,
                    epoch: 1,
                    ..Default::default()
                };
                self.say(Kind::Welcome(welcome), 0);
            }
            Said::Resume(resume) => self.resume(resume),
            Said::Request(request) => {
                let Request { id, key, kind, .. } = request;
                self.answer(id, key, kind);
                self.conn.as_mut().expect("it has just spoken").answered();
            }
            Said::Ping(id) => self.say(Kind::Pong(wire::Pong { id, time_ms: UNIX_MS }), 0),
            Said::Unknown(_) => panic!("the client asks nothing unknown"),
            Said::Pong { .. } | Said::Cancel(_) | Said::KeepAlive => {}
        }
    }

    fn answer(&mut self, id: RequestId, key: Option<Key>, asked: Asked) {
        match asked {
            Asked::Send(send) => {
                let key = key.expect("every send has a key");
                let Some(send::Content::Text(text)) = send.content else { panic!("a text") };
                let known = self.keys.get(&key).copied();
                if known.is_none() && self.now < self.not_before {
                    let wait = self.not_before.since(self.now).as_millis();
                    self.refused += 1;
                    let refusal = wire::Refusal {
                        code: Code::RateLimited.number(),
                        retry_after_ms: u32::try_from(wait).expect("soon") + 1,
                        ..Default::default()
                    };
                    return self.say(Kind::Refusal(refusal), id.get());
                }
                self.not_before = self.now.plus(Duration::from_millis(self.spacing_ms));
                let seq = known.unwrap_or_else(|| self.append(ALICE, &text));
                self.keys.insert(key, seq);
                let id_of = self.log[seq as usize - 1].id;
                let duplicate = known.is_some();
                let ack = wire::Ack { seq, id: id_of, duplicate, ..Default::default() };
                self.say(Kind::Ack(ack), id.get());
            }
            Asked::ReadHistory(read) => {
                let rows = self.log.iter().filter(|event| event.seq > read.seq).cloned();
                let rows = rows.map(|event| wire::Row { event: Some(event), rev: 0 }).collect();
                let head = self.log.len() as u64;
                let page = wire::Page {
                    channel: GROUP,
                    rows,
                    from: read.seq + 1,
                    to: head,
                    as_of: head,
                    floor: 1,
                };
                self.say(Kind::Page(page), id.get());
            }
            other => panic!("not part of the script: {other:?}"),
        }
    }

    fn resume(&mut self, resume: wire::Resume) {
        let mut channel = 0;
        for (delta, seq) in resume.channel_delta.iter().zip(&resume.seq) {
            channel += delta;
            self.cursors.insert(channel, *seq);
        }
        self.pending.extend(resume.pending);
        if !resume.last {
            return;
        }
        let outcome = |pending: wire::PendingSend| {
            let key = Key::parse(&pending.key).expect("a key of its own");
            let known = self.keys.get(&key).filter(|_| !self.unsure);
            let seq = known.copied().unwrap_or(0);
            let id = self.log.get((seq as usize).wrapping_sub(1)).map_or(0, |event| event.id);
            wire::Outcome { channel: pending.channel, key: pending.key, seq, id, expired: false }
        };
        let outcomes: Vec<_> = std::mem::take(&mut self.pending).into_iter().map(outcome).collect();
        if !outcomes.is_empty() {
            self.say(Kind::Outcomes(wire::Outcomes { outcomes }), 0);
        }
        let head = self.log.len() as u64;
        let had = self.cursors.get(&GROUP).copied();
        let from = had.unwrap_or(0) + 1;
        if had.is_none() || from <= head {
            let state = if had.is_none() { State::New } else { State::Tail };
            let info = wire::ChannelInfo { channel: GROUP, from: 1, head, ..Default::default() };
            let standing = wire::Standing {
                channel: GROUP,
                state: state.into(),
                from,
                to: head,
                head,
                info: had.is_none().then_some(info),
            };
            self.say(Kind::Standing(standing), 0);
            for at in from as usize - 1..self.log.len() {
                self.say(Kind::Event(self.log[at].clone()), 0);
            }
        }
        self.say(Kind::Resumed(wire::Resumed { channels: 1 }), 0);
        self.live = true;
    }
}
