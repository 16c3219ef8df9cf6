//! Logging in, hearing, leaving; and the driver's front door.

use damso_proto::client::{ClientConn, EventBytes, Heard};
use damso_proto::id::{ChannelNo, Seq};
use damso_proto::time::Moment;
use damso_proto::wire;
use damso_proto::wire::event::Content;
use damso_proto::wire::system::What;

use super::Damso;
use super::asks::{Line, PAYLOAD_TYPE};
use super::person::Asked;
use crate::checker::{Observation, ReceiverNo, Seen, SessionNo};
use crate::driver::{Abilities, Broken, Checked, Driver, How, Told};
use crate::engine::payload::{Payload, Read, Tag};
use crate::engine::poll::unix_ms;
use crate::engine::target::Target;

/// How long a token is good, seconds: longer than any run.
const TOKEN_SECONDS: u64 = 6 * 3_600;
/// Cursors of a Resume frame: it stays below 64 KiB with the longest numbers.
const CURSORS_PER_FRAME: usize = 2_048;

/// One connection's state.
pub struct Talk {
    pub(super) conn: ClientConn,
    pub(super) session: u32,
}

/// Nanoseconds as the machines' time.
pub(super) fn moment(ns: u64) -> Moment {
    Moment::from_micros(ns / 1_000)
}

pub(super) fn session_no(conn: u32, talk: &Talk) -> SessionNo {
    SessionNo(u64::from(talk.session) << 32 | u64::from(conn))
}

impl Driver for Damso {
    type Talk = Talk;

    fn abilities(&self) -> Abilities {
        // The bare loop keeps nothing.
        let keeps = self.issuer.is_some();
        Abilities { acks: true, history: keeps, resume: keeps }
    }

    fn target(&self) -> &Target {
        &self.target
    }

    fn move_to(&mut self, target: Target) {
        self.target = target;
    }

    fn log_in(&mut self, conn: u32, now_ns: u64, out: &mut Vec<u8>) -> Talk {
        let uid = self.uid(conn);
        let token = match &self.issuer {
            Some(issuer) => issuer.token(&uid, unix_ms() / 1_000, TOKEN_SECONDS),
            None => uid,
        };
        let hello = wire::Hello {
            min_version: 1,
            max_version: 1,
            token,
            device: format!("load-{conn}"),
            sdk: concat!("damso-loadtest/", env!("CARGO_PKG_VERSION")).into(),
            client_time_ms: unix_ms(),
            ..Default::default()
        };
        let person = &mut self.people[conn as usize];
        let session = person.sessions;
        person.sessions += 1;
        let resume = person.places().chunks(CURSORS_PER_FRAME).map(|part| frame(part, self.epoch));
        let machine = ClientConn::open(hello, resume.collect(), moment(now_ns), out);
        let talk = Talk { conn: machine, session };
        if session > 0 {
            for (channel, seq) in person.places().to_vec() {
                self.watch(Observation::Resumed {
                    receiver: ReceiverNo(conn.into()),
                    session: session_no(conn, &talk),
                    channel: ChannelNo::new(channel),
                    cursor: Seq::new(seq),
                });
            }
        }
        talk
    }

    fn hear(
        &mut self,
        conn: u32,
        talk: &mut Talk,
        mut input: &[u8],
        now_ns: u64,
        out: &mut Vec<u8>,
        told: &mut Vec<Told>,
    ) -> Result<(), Broken> {
        loop {
            let live = talk.conn.is_open();
            let session = session_no(conn, talk);
            let heard = talk.conn.next(&mut input, moment(now_ns));
            match heard.map_err(|fault| Broken(fault.to_string()))? {
                None => return Ok(()),
                Some(Heard::Event(event)) => self.event(conn, session, &event, live, told),
                Some(Heard::Ping(id)) => talk.conn.pong(id, unix_ms(), moment(now_ns), out),
                Some(Heard::Closing(closing)) => {
                    told.push(Told::Closing {
                        code: closing.code,
                        after_ms: closing.retry_after_ms,
                        elsewhere: !closing.address.is_empty(),
                    });
                    let text = format!("closed with code {}: {}", closing.code, closing.text);
                    return Err(Broken(text));
                }
                Some(Heard::Welcome(welcome)) => {
                    self.people[conn as usize].user = welcome.user;
                    self.epoch = welcome.epoch;
                }
                Some(Heard::Resumed { .. }) => {
                    told.push(Told::Live);
                    for mut pending in std::mem::take(&mut self.people[conn as usize].pending) {
                        pending.attempt += 1;
                        self.send_again(&mut Line { conn, talk, now_ns, out }, pending);
                    }
                }
                Some(Heard::Ack { id, ack }) => self.acked(conn, id.get(), &ack, told),
                Some(Heard::Refused { id, refusal }) => {
                    self.refused(&mut Line { conn, talk, now_ns, out }, id.get(), &refusal, told);
                }
                Some(Heard::Answer { id, more, answer }) => {
                    let mut line = Line { conn, talk, now_ns, out };
                    self.answered(&mut line, (id.get(), more), answer, told);
                }
                Some(Heard::Standing(standing)) => {
                    self.standing(&mut Line { conn, talk, now_ns, out }, &standing, told);
                }
                Some(
                    Heard::Outcomes(_)
                    | Heard::Pong(_)
                    | Heard::TokenExpiring(_)
                    | Heard::Unknown(_),
                ) => {}
            }
        }
    }

    fn tick(
        &mut self,
        _conn: u32,
        talk: &mut Talk,
        now_ns: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        let silent = talk.conn.handle_timeout(moment(now_ns), out);
        silent.map_err(|silence| Broken(silence.to_string()))
    }

    fn gone(&mut self, conn: u32, _talk: Talk) {
        for asked in self.people[conn as usize].take_asked() {
            match asked {
                Asked::Send(pending) => {
                    self.watch(Observation::Doubtful { key: pending.key });
                    self.people[conn as usize].pending.push(pending);
                }
                // What was to be read is asked for by the next resume instead.
                Asked::Behind { number, from, .. } => {
                    let person = &mut self.people[conn as usize];
                    let place = person.place(number).min(from.saturating_sub(1));
                    person.set_place(number, place);
                }
                Asked::Step { .. } | Asked::Page { .. } | Asked::Back { .. } => {}
            }
        }
    }

    fn next_step(&mut self) -> Option<u32> {
        let step = self.steps.front()?;
        Some(self.setting.layout.member(step.channel, 0))
    }

    fn take_step(&mut self, conn: u32, talk: &mut Talk, now_ns: u64, out: &mut Vec<u8>) {
        self.step(&mut Line { conn, talk, now_ns, out });
    }

    fn settled(&self) -> bool {
        let layout = &self.setting.layout;
        let all: u64 =
            (0..layout.channels()).map(|channel| u64::from(layout.class(channel).members)).sum();
        self.issuer.is_none() || self.told >= all
    }

    fn send(
        &mut self,
        conn: u32,
        talk: &mut Talk,
        channel: u32,
        payload: &Payload,
        bytes: usize,
        now_ns: u64,
        out: &mut Vec<u8>,
    ) {
        self.send_new(&mut Line { conn, talk, now_ns, out }, channel, *payload, bytes);
    }

    fn page(
        &mut self,
        conn: u32,
        talk: &mut Talk,
        channel: u32,
        before: Option<u64>,
        rows: u32,
        tag: Tag,
        now_ns: u64,
        out: &mut Vec<u8>,
    ) {
        self.ask_page(&mut Line { conn, talk, now_ns, out }, (channel, before, rows), tag);
    }

    fn read_back(
        &mut self,
        conn: u32,
        talk: &mut Talk,
        channel: u32,
        after: u64,
        now_ns: u64,
        out: &mut Vec<u8>,
    ) {
        self.ask_back(&mut Line { conn, talk, now_ns, out }, channel, after);
    }

    fn check(&mut self, live: &[bool]) -> Checked {
        self.everyone_must_have_everything(live);
        let Some(checker) = self.checker.take() else { return Checked::default() };
        let verdict = checker.finish();
        let laws = verdict.violations.iter().map(|(law, count)| (format!("{law:?}"), *count));
        Checked { laws: laws.collect(), text: verdict.to_string() }
    }
}

/// A Resume frame of cursors that are sorted by channel.
fn frame(cursors: &[(u64, u64)], epoch: u64) -> wire::Resume {
    let mut last = 0;
    let delta = |&(channel, _): &(u64, u64)| channel - std::mem::replace(&mut last, channel);
    wire::Resume {
        channel_delta: cursors.iter().map(delta).collect(),
        seq: cursors.iter().map(|(_, seq)| *seq).collect(),
        epoch,
        ..Default::default()
    }
}

impl Damso {
    /// Takes in an event that was not asked for. `live`: not part of a resume.
    fn event(
        &mut self,
        conn: u32,
        session: SessionNo,
        bytes: &EventBytes<'_>,
        live: bool,
        told: &mut Vec<Told>,
    ) {
        let person = &mut self.people[conn as usize];
        let (number, seq) = (bytes.channel.get(), bytes.seq.get());
        let late = seq <= person.place(number);
        if !late {
            person.set_place(number, seq);
        }
        let how = match (live, late) {
            (false, _) => How::CaughtUp,
            (true, false) => How::Live,
            (true, true) => How::Late,
        };
        let Ok(event) = bytes.decode() else {
            self.damaged(number, seq, how, told);
            return;
        };
        let receiver = ReceiverNo(conn.into());
        let seen = Seen::from(&event);
        self.watch(Observation::Received { receiver, session, seen });
        if let Some(Content::System(wire::System { what: Some(What::ChannelAdded(added)) })) =
            &event.content
        {
            self.told += 1;
            self.watch(Observation::MustStart {
                receiver,
                channel: ChannelNo::new(added.channel),
                from: Seq::new(added.from),
            });
        }
        self.message(&event, how, told);
    }

    /// Tells of a message of the run's, if `event` is one.
    pub(super) fn message(&mut self, event: &wire::Event, how: How, told: &mut Vec<Told>) {
        let (Some(Content::Custom(custom)), Some(channel)) =
            (&event.content, self.channels.get(&event.channel))
        else {
            return;
        };
        if custom.r#type == PAYLOAD_TYPE {
            let body = Payload::read(&custom.body);
            told.push(Told::Message { channel: *channel, seq: Some(event.seq), body, how });
        }
    }

    fn damaged(&mut self, number: u64, seq: u64, how: How, told: &mut Vec<Told>) {
        if let Some(channel) = self.channels.get(&number) {
            let body = Read::Corrupt;
            told.push(Told::Message { channel: *channel, seq: Some(seq), body, how });
        }
    }
}
