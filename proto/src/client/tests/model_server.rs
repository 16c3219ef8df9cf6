//! A server of one person's channels that keeps the protocol and nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use prost::Message as _;

use crate::code::Code;
use crate::id::{ID_EPOCH_MS, Key};
use crate::wire;
use crate::wire::client_frame::Kind;
use crate::wire::server_frame::Kind as Said;
use crate::wire::standing::State;

pub(super) const USER: u64 = 7;
pub(super) const SELF: u64 = 2 * USER + 1;
pub(super) const PAGE_ROWS: u32 = 5;

/// One channel's log; its seqs are positions from 1.
#[derive(Default)]
pub(super) struct Log {
    pub(super) events: Vec<wire::Event>,
    pub(super) keys: BTreeMap<Vec<u8>, u64>,
    /// The first seq that the person sees.
    pub(super) from: u64,
    pub(super) mine: bool,
}

impl Log {
    pub(super) fn head(&self) -> u64 {
        self.events.len() as u64
    }
}

/// How it treats its next connection and requests; drawn anew by each test.
#[derive(Clone, Copy, Default)]
pub(super) struct Mood {
    /// Sends are refused for now.
    pub(super) overloaded: bool,
    /// Resumes are answered with BEHIND instead of TAIL.
    pub(super) far_behind: bool,
    /// Live events are skipped and told as BEHIND.
    pub(super) lagging: bool,
    /// Pages come in frames of one row.
    pub(super) chopped: bool,
    /// Live events are said twice.
    pub(super) stutters: bool,
    /// The person's own log is told when [`ModelServer::tell_own`] is called.
    pub(super) own_lags: bool,
}

pub(super) struct ModelServer {
    pub(super) logs: BTreeMap<u64, Log>,
    pub(super) mood: Mood,
    pub(super) epoch: u64,
    pub(super) unix_ms: u64,
    pub(super) hellos: u32,
    /// The proof that the last Hello presented, and the one that Welcome tells.
    pub(super) presented: bytes::Bytes,
    pub(super) token: String,
    pub(super) proof: bytes::Bytes,
    next_id: u64,
    late: Vec<wire::system::What>,
    connection: Option<Connection>,
}

#[derive(Default)]
struct Connection {
    input: Vec<u8>,
    output: Vec<u8>,
    /// Pages, which live events overtake.
    bulk: VecDeque<Vec<u8>>,
    resume: Vec<wire::Resume>,
    live: bool,
    /// Channels whose events are skipped: first skipped seq.
    skipped: BTreeMap<u64, u64>,
}

impl ModelServer {
    pub(super) fn new(unix_ms: u64) -> Self {
        let own = Log { from: 1, mine: true, ..Log::default() };
        Self {
            logs: BTreeMap::from([(SELF, own)]),
            mood: Mood::default(),
            epoch: 1,
            unix_ms,
            hellos: 0,
            presented: bytes::Bytes::new(),
            token: String::new(),
            proof: bytes::Bytes::new(),
            next_id: 1,
            late: Vec::new(),
            connection: None,
        }
    }

    pub(super) fn accept(&mut self) {
        self.connection = Some(Connection::default());
    }

    pub(super) fn drop_connection(&mut self) {
        self.connection = None;
    }

    /// Bytes on their way to the client, at most `max`.
    pub(super) fn sent(&mut self, max: usize) -> Vec<u8> {
        let Some(connection) = &mut self.connection else { return Vec::new() };
        if connection.output.is_empty() {
            connection.output = connection.bulk.pop_front().unwrap_or_default();
        }
        let max = max.min(connection.output.len());
        connection.output.drain(..max).collect()
    }

    pub(super) fn received(&mut self, bytes: &[u8]) {
        let Some(connection) = &mut self.connection else { return };
        connection.input.extend_from_slice(bytes);
        loop {
            let Some(connection) = &mut self.connection else { return };
            let mut rest = &connection.input[..];
            let Ok(length) = prost::encoding::decode_varint(&mut rest) else { return };
            if rest.len() < length as usize {
                return;
            }
            let frame = wire::ClientFrame::decode(&rest[..length as usize]).expect("a frame");
            let used = connection.input.len() - rest.len() + length as usize;
            connection.input.drain(..used);
            if length > 0 {
                self.frame(frame);
            }
        }
    }

    /// Appends an event of `sender`, and tells it live.
    pub(super) fn append(
        &mut self,
        channel: u64,
        sender: u64,
        content: wire::event::Content,
    ) -> u64 {
        let log = self.logs.entry(channel).or_default();
        let seq = log.head() + 1;
        self.next_id += 1;
        let event = wire::Event {
            channel,
            seq,
            id: (self.unix_ms - ID_EPOCH_MS) << 22 | self.next_id,
            sender,
            content: Some(content),
            ..Default::default()
        };
        log.events.push(event.clone());
        if log.mine {
            self.live(event);
        }
        seq
    }

    /// The person enters a channel, and their own log tells it.
    pub(super) fn join(&mut self, channel: u64) {
        let log = self.logs.entry(channel).or_default();
        log.mine = true;
        log.from = log.head() + 1;
        let from = log.from;
        self.append(channel, 0, wire::event::Content::Text("joined".into()));
        let added = wire::system::ChannelAdded { channel, from, head: from };
        self.own(wire::system::What::ChannelAdded(added));
    }

    /// The person enters a broadcast: only their own log tells it. They see all of its past, or
    /// what comes next.
    pub(super) fn join_silently(&mut self, channel: u64, with_past: bool) {
        let log = self.logs.entry(channel).or_default();
        log.mine = true;
        let head = log.head();
        log.from = if with_past { 1 } else { head + 1 };
        let added = wire::system::ChannelAdded { channel, from: log.from, head };
        self.own(wire::system::What::ChannelAdded(added));
    }

    /// The person is put out of a broadcast: only their own log tells it.
    pub(super) fn part_silently(&mut self, channel: u64) {
        let log = self.logs.entry(channel).or_default();
        log.mine = false;
        let removed = wire::system::ChannelRemoved { channel, to: log.head() };
        self.own(wire::system::What::ChannelRemoved(removed));
    }

    /// The person is put out of a channel, and their own log tells it.
    pub(super) fn part(&mut self, channel: u64) {
        let removed = wire::system::MemberRemoved { by: USER + 1, member: USER, banned: false };
        let what = Some(wire::system::What::MemberRemoved(removed));
        let to = self.append(channel, 0, wire::event::Content::System(wire::System { what }));
        self.logs.entry(channel).or_default().mine = false;
        let what = wire::system::What::ChannelRemoved(wire::system::ChannelRemoved { channel, to });
        self.own(what);
    }

    /// Tells what the person's own log was late with.
    pub(super) fn tell_own(&mut self) {
        self.mood.own_lags = false;
        for what in std::mem::take(&mut self.late) {
            self.own(what);
        }
    }

    fn own(&mut self, what: wire::system::What) {
        if self.mood.own_lags {
            return self.late.push(what);
        }
        let system = wire::System { what: Some(what) };
        self.append(SELF, 0, wire::event::Content::System(system));
    }

    fn live(&mut self, event: wire::Event) {
        let Mood { lagging, stutters, .. } = self.mood;
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.live) else {
            return;
        };
        if lagging {
            connection.skipped.entry(event.channel).or_insert(event.seq);
            return;
        }
        if let Some(from) = connection.skipped.remove(&event.channel) {
            let standing = wire::Standing {
                channel: event.channel,
                state: State::Behind.into(),
                from,
                to: event.seq - 1,
                ..Default::default()
            };
            self.say(Said::Standing(standing), 0, false);
        }
        if stutters {
            self.say(Said::Event(event.clone()), 0, false);
        }
        self.say(Said::Event(event), 0, false);
    }

    /// Tells what was skipped, as a server does once it finds the time.
    pub(super) fn tell_skipped(&mut self) {
        let skipped = self.connection.as_mut().map(|it| std::mem::take(&mut it.skipped));
        for (channel, from) in skipped.unwrap_or_default() {
            let to = self.logs[&channel].head();
            self.standing(channel, State::Behind, from, to);
        }
    }

    pub(super) fn say(&mut self, kind: Said, id: u64, more: bool) {
        if let Some(connection) = &mut self.connection {
            let frame = wire::ServerFrame { kind: Some(kind), id, more };
            connection.output.extend(frame.encode_length_delimited_to_vec());
        }
    }

    fn frame(&mut self, frame: wire::ClientFrame) {
        let Some(connection) = &mut self.connection else { return };
        match frame.kind {
            Some(Kind::Hello(hello)) => {
                self.hellos += 1;
                self.presented = hello.device_proof;
                self.token = hello.token;
            }
            Some(Kind::Resume(resume)) => {
                let last = resume.last;
                connection.resume.push(resume);
                if last {
                    self.resume();
                }
            }
            Some(Kind::Send(send)) => self.send(frame.id, &frame.key, send),
            Some(Kind::ReadHistory(read)) => self.page(frame.id, read),
            Some(Kind::Ping(ping)) => {
                let pong = wire::Pong { id: ping.id, time_ms: self.unix_ms };
                self.say(Said::Pong(pong), 0, false);
            }
            Some(Kind::Reauth(reauth)) if reauth.token == "good" => {
                let renewed = wire::Renewed { token_expires_ms: self.unix_ms + 3_600_000 };
                self.say(Said::Renewed(renewed), frame.id, false);
            }
            Some(Kind::Reauth(_)) => {
                let code = Code::TokenInvalid.number();
                let refusal = wire::Refusal { code, ..Default::default() };
                self.say(Said::Refusal(refusal), frame.id, false);
            }
            Some(Kind::FindPeople(_)) => {
                self.say(Said::People(Default::default()), frame.id, false)
            }
            _ => {}
        }
    }

    fn send(&mut self, id: u64, key: &[u8], send: wire::Send) {
        assert!(Key::parse(key).is_some(), "a send without a key");
        if self.mood.overloaded {
            let code = Code::Overloaded.number();
            let refusal = wire::Refusal { code, retry_after_ms: 200, ..Default::default() };
            return self.say(Said::Refusal(refusal), id, false);
        }
        let known = self.logs.get(&send.channel).and_then(|log| log.keys.get(key)).copied();
        let seq = known.unwrap_or_else(|| {
            let Some(wire::send::Content::Text(text)) = send.content else { panic!("a text") };
            self.append(send.channel, USER, wire::event::Content::Text(text))
        });
        let log = self.logs.entry(send.channel).or_default();
        log.keys.insert(key.to_vec(), seq);
        let event_id = log.events[seq as usize - 1].id;
        let ack = wire::Ack { seq, id: event_id, duplicate: known.is_some(), ..Default::default() };
        self.say(Said::Ack(ack), id, false);
    }

    fn page(&mut self, id: u64, read: wire::ReadHistory) {
        let Some(log) = self.logs.get(&read.channel).filter(|log| log.mine) else {
            let code = Code::NotFound.number();
            let refusal = wire::Refusal { code, ..Default::default() };
            return self.say(Said::Refusal(refusal), id, false);
        };
        let rows = if read.rows == 0 { PAGE_ROWS } else { read.rows.min(PAGE_ROWS) };
        let from = (read.seq + 1).max(log.from);
        let to = log.head().min(from + u64::from(rows) - 1);
        let (floor, as_of, channel) = (log.from, log.head(), read.channel);
        let step = if self.mood.chopped { 1 } else { u64::from(PAGE_ROWS) };
        let mut first = from;
        loop {
            let last = to.min(first + step - 1);
            let log = &self.logs[&channel];
            let events = (first..=last).map(|seq| log.events[seq as usize - 1].clone());
            let rows = events.map(|event| wire::Row { event: Some(event), rev: 0 }).collect();
            let page = wire::Page { channel, rows, from: first, to: last, as_of, floor };
            first = last + 1;
            let (kind, more) = (Some(Said::Page(page)), first <= to);
            let frame = wire::ServerFrame { kind, id, more }.encode_length_delimited_to_vec();
            self.connection.iter_mut().for_each(|it| it.bulk.push_back(frame.clone()));
            if first > to {
                return;
            }
        }
    }

    fn resume(&mut self) {
        let resume = self.connection.as_mut().map(|c| std::mem::take(&mut c.resume));
        let resume = resume.unwrap_or_default();
        let limits =
            wire::Limits { page_rows: PAGE_ROWS, requests_in_flight: 8, ..Default::default() };
        let welcome = wire::Welcome {
            user: USER,
            uid: "me".into(),
            server_time_ms: self.unix_ms,
            epoch: self.epoch,
            limits: Some(limits),
            device_proof: self.proof.clone(),
            ..Default::default()
        };
        self.say(Said::Welcome(welcome), 0, false);
        let mut cursors = BTreeMap::new();
        let mut outcomes = wire::Outcomes::default();
        for frame in resume {
            let mut channel = 0;
            for (delta, seq) in frame.channel_delta.iter().zip(&frame.seq) {
                channel += delta;
                cursors.insert(channel, *seq);
            }
            for wire::PendingSend { channel, key } in frame.pending {
                let log = self.logs.get(&channel);
                let seq = log.and_then(|log| log.keys.get(&key[..])).copied().unwrap_or(0);
                let id = if seq == 0 { 0 } else { self.logs[&channel].events[seq as usize - 1].id };
                outcomes.outcomes.push(wire::Outcome { channel, key, seq, id, expired: false });
            }
        }
        if !outcomes.outcomes.is_empty() {
            self.say(Said::Outcomes(outcomes), 0, false);
        }
        let mine = |server: &Self, n: u64| server.logs.get(&n).is_some_and(|log| log.mine);
        let named: BTreeSet<u64> = cursors.keys().chain(self.logs.keys()).copied().collect();
        // One's own log comes first, then the others.
        for channel in [SELF].into_iter().chain(named.into_iter().filter(|n| *n != SELF)) {
            match (mine(self, channel), cursors.get(&channel)) {
                (true, cursor) => self.stand(channel, cursor.copied()),
                (false, Some(_)) => self.standing(channel, State::Gone, 0, 0),
                (false, None) => {}
            }
        }
        self.say(Said::Resumed(wire::Resumed { channels: 0 }), 0, false);
        if let Some(connection) = &mut self.connection {
            connection.live = true;
        }
    }

    fn stand(&mut self, channel: u64, cursor: Option<u64>) {
        let log = &self.logs[&channel];
        let (head, first) = (log.head(), log.from);
        let from = cursor.map_or(first, |seq| (seq + 1).max(first));
        if cursor.is_some() && from > head {
            return;
        }
        let behind = self.mood.far_behind && cursor.is_some();
        let state = match cursor {
            None => State::New,
            _ if behind => State::Behind,
            _ => State::Tail,
        };
        self.standing(channel, state, from, head);
        if !behind {
            for seq in from..=head {
                let event = self.logs[&channel].events[seq as usize - 1].clone();
                self.say(Said::Event(event), 0, false);
            }
        }
    }

    fn standing(&mut self, channel: u64, state: State, from: u64, to: u64) {
        let log = self.logs.get(&channel);
        let info = (state == State::New).then(|| wire::ChannelInfo {
            channel,
            from: log.map_or(1, |log| log.from),
            ..Default::default()
        });
        let head = log.map_or(0, Log::head);
        let standing = wire::Standing { channel, state: state.into(), from, to, head, info };
        self.say(Said::Standing(standing), 0, false);
    }
}
