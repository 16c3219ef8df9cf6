//! MQTT as the harness sees it: a channel is a topic, a member is a subscriber.
//!
//! ```text
//! log_in     CONNECT -> CONNACK                           Told::Live
//! take_step  SUBSCRIBE, all channels -> SUBACK            Told::Settled
//! send       PUBLISH -> PUBACK at QoS 1                   Told::Acked
//! hear       PUBLISH, which QoS 1 answers with PUBACK     Told::Message
//! ```
//!
//! Sessions are clean, so one who comes back subscribes anew and is live only after that; what came
//! in between is gone, and so are the answers to what it had sent. Nothing is sent twice from here,
//! and what the broker sends twice (DUP) is told twice: the tally is to see it.

use std::collections::BTreeSet;

use super::codec::{Delivery, Fault, FilterList, Packet, PacketId, Publish, Qos, SUBSCRIBE_FAILED};
use super::talk::{IN_FLIGHT_MAX, KEEP_ALIVE_S, Line, Standing, Talk, Waiting};
use super::topic::Topics;
use crate::driver::{Abilities, Broken, Checked, Driver, How, Setting, Told};
use crate::engine::payload::{Payload, Tag};
use crate::engine::target::Target;

/// See the module.
#[derive(Debug)]
pub struct Mqtt {
    setting: Setting,
    target: Target,
    qos: Qos,
    topics: Topics,
    /// Logged in, and not subscribed yet.
    due: BTreeSet<u32>,
    /// Who has been subscribed to all its channels, by person.
    subscribed: Vec<bool>,
    /// How many have not.
    missing: u32,
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self(fault.to_string())
    }
}

impl Mqtt {
    /// Subscribes, and sends, with `qos`.
    pub fn new(setting: Setting, target: Target, qos: Qos) -> Self {
        let people = setting.layout.people();
        Self {
            topics: Topics::new(setting.run, setting.worker, setting.layout.channels()),
            setting,
            target,
            qos,
            due: BTreeSet::new(),
            subscribed: vec![false; people as usize],
            missing: people,
        }
    }

    fn take(
        &mut self,
        conn: u32,
        line: &mut Line,
        packet: Packet<'_>,
        out: &mut Vec<u8>,
        told: &mut Vec<Told>,
    ) -> Result<(), Broken> {
        match (line.standing, packet) {
            (Standing::Greeted, Packet::ConnAck { session_present, code }) => {
                self.greeted(conn, line, session_present, code, out, told)
            }
            (Standing::Greeted, _) => Err(Broken("a packet before CONNACK".into())),
            (Standing::Open, Packet::Publish(publish)) => self.message(&publish, out, told),
            (Standing::Open, Packet::PubAck(id)) => match line.in_flight.end(id) {
                Some(Waiting::Send(tag)) => {
                    told.push(Told::Acked(tag));
                    Ok(())
                }
                _ => Err(Broken("a PUBACK that answers no PUBLISH".into())),
            },
            (Standing::Open, Packet::SubAck { id, codes }) => {
                self.granted(conn, line, id, codes, told)
            }
            (Standing::Open, Packet::PingResp) => Ok(()),
            (Standing::Open, _) => Err(Broken("a packet that no broker sends here".into())),
        }
    }

    fn greeted(
        &mut self,
        conn: u32,
        line: &mut Line,
        session_present: bool,
        code: u8,
        out: &mut Vec<u8>,
        told: &mut Vec<Told>,
    ) -> Result<(), Broken> {
        if code != 0 {
            told.push(Told::Unusable(format!("CONNACK refuses with code {code}: {}", why(code))));
            return Ok(());
        }
        if session_present {
            // [MQTT-3.2.2-1]
            return Err(Broken("a session that was to be clean was kept".into()));
        }
        line.standing = Standing::Open;
        let known = self.subscribed.get(conn as usize).copied().unwrap_or_default();
        let channels = self.setting.layout.channels_of(conn);
        if channels.is_empty() {
            self.know(conn);
        } else if known {
            // Live with the last SUBACK.
            self.subscribe(&channels, line, out);
            return Ok(());
        } else {
            self.due.insert(conn);
        }
        told.push(Told::Live);
        Ok(())
    }

    /// Asks for channels, in as few packets as they fit into.
    fn subscribe(&mut self, channels: &[u32], line: &mut Line, out: &mut Vec<u8>) {
        let mut left = channels;
        while !left.is_empty() {
            let mut list = FilterList::default();
            let fits = |channel: &&u32| list.push(self.topics.name(**channel), self.qos);
            let topics = left.iter().take_while(fits).count();
            left = &left[topics..];
            let Some(id) = line.in_flight.begin(Waiting::Subscribe { topics }) else {
                return line.doom(full());
            };
            put(&Packet::Subscribe { id, filters: list.filters() }, line, out);
            line.subscribing += 1;
        }
    }

    fn granted(
        &mut self,
        conn: u32,
        line: &mut Line,
        id: PacketId,
        codes: &[u8],
        told: &mut Vec<Told>,
    ) -> Result<(), Broken> {
        match line.in_flight.end(id) {
            Some(Waiting::Subscribe { topics }) if topics == codes.len() => {}
            _ => return Err(Broken("a SUBACK that answers no SUBSCRIBE".into())),
        }
        if let Some(code) = codes.iter().find(|code| **code != self.qos as u8) {
            let what = if *code == SUBSCRIBE_FAILED { "refused" } else { "of another QoS" };
            let asked = codes.len();
            told.push(Told::Unusable(format!("SUBACK: of {asked} topics, one is {what}")));
            return Ok(());
        }
        line.subscribing -= 1;
        if line.subscribing == 0 {
            let again = self.know(conn);
            told.push(if again { Told::Live } else { Told::Settled });
        }
        Ok(())
    }

    /// A person is subscribed to all its channels. Says whether it was before.
    fn know(&mut self, conn: u32) -> bool {
        match self.subscribed.get_mut(conn as usize) {
            Some(known) if !*known => {
                *known = true;
                self.missing -= 1;
                false
            }
            _ => true,
        }
    }

    fn message(
        &mut self,
        publish: &Publish<'_>,
        out: &mut Vec<u8>,
        told: &mut Vec<Told>,
    ) -> Result<(), Broken> {
        // Filters have no wildcards, so this is not what others say on the same broker.
        let channel = self
            .topics
            .channel(publish.topic)
            .ok_or_else(|| Broken("a message of a topic that nobody asked for".into()))?;
        if let Delivery::AtLeastOnce { id, .. } = publish.delivery {
            Packet::PubAck(id).encode(out)?;
        }
        let body = Payload::read(publish.payload);
        told.push(Told::Message { channel, seq: None, body, how: How::Live });
        Ok(())
    }
}

/// What CONNACK's code means (table 3.1).
fn why(code: u8) -> &'static str {
    match code {
        1 => "another protocol version",
        2 => "the client id is not allowed",
        3 => "not available",
        4 => "wrong user name or password",
        5 => "not authorised",
        _ => "unknown",
    }
}

fn full() -> String {
    format!("{IN_FLIGHT_MAX} packets wait for an answer")
}

/// Appends a packet; the connection ends if it is too long.
fn put(packet: &Packet<'_>, line: &mut Line, out: &mut Vec<u8>) {
    if let Err(fault) = packet.encode(out) {
        line.doom(fault.to_string());
    }
}

impl Driver for Mqtt {
    type Talk = Talk;

    fn abilities(&self) -> Abilities {
        Abilities { acks: self.qos == Qos::AtLeastOnce, history: false, resume: false }
    }

    fn target(&self) -> &Target {
        &self.target
    }

    fn move_to(&mut self, target: Target) {
        self.target = target;
    }

    fn log_in(&mut self, conn: u32, now_ns: u64, out: &mut Vec<u8>) -> Talk {
        let mut talk = Talk::new(now_ns);
        // A broker need not take more than 23 bytes; all that we know do [MQTT-3.1.3-5].
        let client_id = format!("load-{:x}-{}-{conn}", self.setting.run, self.setting.worker);
        let connect = Packet::Connect { client_id: &client_id, keep_alive_s: KEEP_ALIVE_S };
        put(&connect, &mut talk.line, out);
        talk
    }

    fn hear(
        &mut self,
        conn: u32,
        talk: &mut Talk,
        input: &[u8],
        now_ns: u64,
        out: &mut Vec<u8>,
        told: &mut Vec<Told>,
    ) -> Result<(), Broken> {
        let Talk { reader, line } = talk;
        line.check()?;
        if !input.is_empty() {
            line.heard(now_ns);
        }
        let before = out.len();
        reader.read(input, |packet| self.take(conn, line, packet, out, told))?;
        if out.len() > before {
            line.sent(now_ns);
        }
        Ok(())
    }

    fn tick(
        &mut self,
        _conn: u32,
        talk: &mut Talk,
        now_ns: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken> {
        talk.line.check()?;
        if talk.line.ping_due(now_ns)? {
            Packet::PingReq.encode(out)?;
        }
        Ok(())
    }

    fn gone(&mut self, conn: u32, _talk: Talk) {
        self.due.remove(&conn);
    }

    fn next_step(&mut self) -> Option<u32> {
        self.due.first().copied()
    }

    fn take_step(&mut self, conn: u32, talk: &mut Talk, now_ns: u64, out: &mut Vec<u8>) {
        if self.due.remove(&conn) {
            let channels = self.setting.layout.channels_of(conn);
            self.subscribe(&channels, &mut talk.line, out);
            talk.line.sent(now_ns);
        }
    }

    fn settled(&self) -> bool {
        self.missing == 0
    }

    /// A payload that makes a packet too long, or a send that finds no free packet id, ends the
    /// connection: nothing else would say that it was not sent.
    fn send(
        &mut self,
        _conn: u32,
        talk: &mut Talk,
        channel: u32,
        payload: &Payload,
        bytes: usize,
        now_ns: u64,
        out: &mut Vec<u8>,
    ) {
        let line = &mut talk.line;
        let delivery = match self.qos {
            Qos::AtMostOnce => Delivery::AtMostOnce,
            Qos::AtLeastOnce => match line.in_flight.begin(Waiting::Send(payload.tag)) {
                Some(id) => Delivery::AtLeastOnce { id, again: false },
                None => return line.doom(full()),
            },
        };
        let (topic, payload) = (self.topics.name(channel), payload.encode(bytes));
        let publish = Publish { topic, delivery, retain: false, payload: &payload };
        put(&Packet::Publish(publish), line, out);
        line.sent(now_ns);
    }

    /// Never called: [`Abilities::history`] is false.
    fn page(
        &mut self,
        _conn: u32,
        _talk: &mut Talk,
        _channel: u32,
        _before: Option<u64>,
        _rows: u32,
        _tag: Tag,
        _now_ns: u64,
        _out: &mut Vec<u8>,
    ) {
    }

    /// Never called: [`Abilities::history`] is false.
    fn read_back(
        &mut self,
        _conn: u32,
        _talk: &mut Talk,
        _channel: u32,
        _after: u64,
        _now_ns: u64,
        _out: &mut Vec<u8>,
    ) {
    }

    /// Nothing: messages have no number, so the tally of deliveries is all that there is.
    fn check(&mut self, _live: &[bool]) -> Checked {
        Checked::default()
    }
}
