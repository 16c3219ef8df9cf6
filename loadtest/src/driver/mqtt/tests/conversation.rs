//! The driver and a broker, talking.

use super::super::codec::{Delivery, Packet, Publish};
use super::super::talk::{IN_FLIGHT_MAX, Talk};
use super::super::{Mqtt, Qos};
use super::broker::{Broker, Manner};
use crate::driver::{Broken, Driver as _, How, Setting, Told};
use crate::engine::payload::{Payload, Read, Tag};
use crate::engine::target::Target;
use crate::scenario::Kind;
use crate::scenario::layout::{Class, Layout};

const RUN: u64 = 0xab;
const SECOND: u64 = 1_000_000_000;

/// Some people, and a broker that they talk to.
struct Room {
    driver: Mqtt,
    broker: Broker,
    talks: Vec<Talk>,
    now_ns: u64,
    told: Vec<(u32, Told)>,
}

fn target() -> Target {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = params.self_signed(&key).unwrap().pem();
    Target::with_ca(([127, 0, 0, 1], 8_883).into(), "localhost", &ca_pem).unwrap()
}

fn payload(number: u32) -> Payload {
    Payload { run: RUN, intended_ns: 5, tag: Tag { phase: 1, stream: 2, number } }
}

impl Room {
    /// `people` who are in `channels` channels of `members` each.
    fn new(qos: Qos, manner: Manner, people: u32, channels: u32, members: u32) -> Self {
        let layout = Layout::new(people, &[Class { count: channels, members, kind: Kind::Group }]);
        let setting = Setting { run: RUN, worker: 3, layout, check: false };
        let mut room = Self {
            driver: Mqtt::new(setting, target(), qos),
            broker: Broker::new(manner),
            talks: Vec::new(),
            now_ns: 0,
            told: Vec::new(),
        };
        for conn in 0..people {
            let mut out = Vec::new();
            let talk = room.driver.log_in(conn, room.now_ns, &mut out);
            room.talks.push(talk);
            room.broker.hear(conn, &out);
        }
        room
    }

    /// With everyone subscribed.
    fn settled(qos: Qos, manner: Manner, people: u32, channels: u32, members: u32) -> Self {
        let mut room = Self::new(qos, manner, people, channels, members);
        room.talk().unwrap();
        room.settle();
        room.told.clear();
        room
    }

    fn settle(&mut self) {
        while let Some(conn) = self.driver.next_step() {
            let mut out = Vec::new();
            let talk = &mut self.talks[conn as usize];
            self.driver.take_step(conn, talk, self.now_ns, &mut out);
            self.broker.hear(conn, &out);
        }
        self.talk().unwrap();
    }

    /// Until nobody has anything to say.
    fn talk(&mut self) -> Result<(), Broken> {
        while let Some((conn, input)) = self.broker.out.pop_first() {
            let (mut out, mut told) = (Vec::new(), Vec::new());
            let talk = &mut self.talks[conn as usize];
            self.driver.hear(conn, talk, &input, self.now_ns, &mut out, &mut told)?;
            self.told.extend(told.into_iter().map(|told| (conn, told)));
            self.broker.hear(conn, &out);
        }
        Ok(())
    }

    fn send(&mut self, conn: u32, channel: u32, number: u32) {
        let mut out = Vec::new();
        let (talk, payload) = (&mut self.talks[conn as usize], payload(number));
        self.driver.send(conn, talk, channel, &payload, 100, self.now_ns, &mut out);
        self.broker.hear(conn, &out);
    }

    fn tick(&mut self, conn: u32) -> Result<(), Broken> {
        let mut out = Vec::new();
        self.driver.tick(conn, &mut self.talks[conn as usize], self.now_ns, &mut out)?;
        self.broker.hear(conn, &out);
        Ok(())
    }

    /// A connection is lost, and comes back.
    fn come_back(&mut self, conn: u32) {
        self.broker.lose(conn);
        let lost = std::mem::replace(&mut self.talks[conn as usize], Talk::new(self.now_ns));
        self.driver.gone(conn, lost);
        let mut out = Vec::new();
        self.talks[conn as usize] = self.driver.log_in(conn, self.now_ns, &mut out);
        self.broker.hear(conn, &out);
    }

    /// (receiver, channel, number) of all messages, in order.
    fn messages(&self) -> Vec<(u32, u32, u32)> {
        let message = |(conn, told): &(u32, Told)| match told {
            Told::Message { channel, seq: None, body: Read::Whole(body), how: How::Live } => {
                assert_eq!(*body, payload(body.tag.number));
                Some((*conn, *channel, body.tag.number))
            }
            _ => None,
        };
        self.told.iter().filter_map(message).collect()
    }

    fn count(&self, is: impl Fn(&Told) -> bool) -> usize {
        self.told.iter().filter(|(_, told)| is(told)).count()
    }
}

#[test]
fn everyone_is_live_and_then_settled_with_one_packet_each() {
    let mut room = Room::new(Qos::AtMostOnce, Manner::Good, 6, 6, 3);
    assert_eq!(room.driver.next_step(), None, "nobody is logged in");
    room.talk().unwrap();
    assert_eq!(room.count(|told| matches!(told, Told::Live)), 6);
    assert!(!room.driver.settled());
    room.settle();
    assert_eq!(room.count(|told| matches!(told, Told::Settled)), 6);
    assert!(room.driver.settled());
    assert_eq!(room.broker.subscribes, 6);
}

#[test]
fn one_who_is_in_no_channel_needs_no_step() {
    let mut room = Room::new(Qos::AtMostOnce, Manner::Good, 3, 1, 2);
    room.talk().unwrap();
    room.settle();
    assert!(room.driver.settled());
    assert_eq!(room.count(|told| matches!(told, Told::Settled)), 2);
    assert_eq!(room.count(|told| matches!(told, Told::Live)), 3);
}

#[test]
fn more_channels_than_fit_into_a_packet_are_asked_for_in_several() {
    let mut room = Room::settled(Qos::AtMostOnce, Manner::Good, 1, 10_000, 1);
    assert!(room.driver.settled());
    assert!((3..6).contains(&room.broker.subscribes), "{}", room.broker.subscribes);
    for channel in [0, 4_321, 9_999] {
        room.send(0, channel, channel);
    }
    room.talk().unwrap();
    assert_eq!(room.messages(), [(0, 0, 0), (0, 4_321, 4_321), (0, 9_999, 9_999)]);
}

#[test]
fn a_message_reaches_the_members_and_nobody_else() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        let mut room = Room::settled(qos, Manner::Good, 6, 2, 3);
        room.send(0, 0, 1);
        room.send(5, 1, 2);
        room.talk().unwrap();
        let mut messages = room.messages();
        messages.sort_unstable();
        let expected = [(0, 0, 1), (1, 0, 1), (2, 0, 1), (3, 1, 2), (4, 1, 2), (5, 1, 2)];
        assert_eq!(messages, expected, "{qos:?}");
        let (acked, acks) = if qos == Qos::AtLeastOnce { (2, 6) } else { (0, 0) };
        assert_eq!(room.count(|told| matches!(told, Told::Acked(_))), acked);
        assert_eq!(room.broker.acks, acks);
        assert_eq!(room.driver.abilities().acks, acked > 0);
    }
}

#[test]
fn a_message_that_comes_twice_is_told_twice() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce] {
        // What QoS 0 repeats has no mark, which makes it no better.
        let mut room = Room::settled(qos, Manner::Repeats, 2, 1, 2);
        room.send(0, 0, 1);
        room.talk().unwrap();
        assert_eq!(room.messages().len(), 4, "{qos:?}");
    }
}

#[test]
fn what_a_broker_refuses_makes_it_unusable() {
    let cases = [
        (Manner::Refuses(5), "not authorised"),
        (Manner::Withholds, "refused"),
        (Manner::Lowers, "another QoS"),
    ];
    for (manner, named) in cases {
        let mut room = Room::new(Qos::AtLeastOnce, manner, 1, 2, 1);
        room.talk().unwrap();
        room.settle();
        let said = |told: &Told| matches!(told, Told::Unusable(text) if text.contains(named));
        assert_eq!(room.count(said), 1, "{:?}", room.told);
        assert!(!room.driver.settled());
    }
}

#[test]
fn one_who_comes_back_subscribes_anew_before_it_is_live() {
    let mut room = Room::settled(Qos::AtLeastOnce, Manner::Good, 2, 1, 2);
    room.come_back(1);
    room.talk().unwrap();
    assert!(matches!(room.told[..], [(1, Told::Live)]), "{:?}", room.told);
    assert_eq!((room.broker.subscribes, room.driver.next_step()), (3, None));
    room.send(0, 0, 7);
    room.talk().unwrap();
    assert_eq!(room.messages(), [(0, 0, 7), (1, 0, 7)]);
}

#[test]
fn one_who_is_lost_before_its_step_takes_it_later() {
    let mut room = Room::new(Qos::AtMostOnce, Manner::Good, 1, 1, 1);
    room.talk().unwrap();
    assert_eq!(room.driver.next_step(), Some(0));
    room.come_back(0);
    assert_eq!(room.driver.next_step(), None, "it is not logged in");
    room.talk().unwrap();
    room.settle();
    assert!(room.driver.settled());
}

#[test]
fn a_connection_at_rest_is_kept_alive_and_a_silent_one_is_given_up() {
    let mut room = Room::settled(Qos::AtMostOnce, Manner::Good, 1, 1, 1);
    for _ in 0..100 {
        room.now_ns += 3 * SECOND;
        room.tick(0).unwrap();
        room.talk().unwrap();
    }
    assert_eq!(room.broker.pings, 5);
    room.now_ns += 100 * SECOND;
    assert!(room.tick(0).is_err());
}

#[test]
fn what_no_broker_says_breaks_the_connection() {
    let one = super::super::codec::PacketId(std::num::NonZeroU16::MIN);
    let stray = Publish {
        topic: "load/ab/4/0",
        delivery: Delivery::AtMostOnce,
        retain: false,
        payload: b"",
    };
    let cases = [
        Packet::ConnAck { session_present: false, code: 0 },
        Packet::Connect { client_id: "", keep_alive_s: 0 },
        Packet::PubAck(one),
        Packet::SubAck { id: one, codes: &[0] },
        Packet::PingReq,
        Packet::Disconnect,
        Packet::Publish(stray),
    ];
    for packet in cases {
        let mut room = Room::settled(Qos::AtLeastOnce, Manner::Good, 1, 1, 1);
        room.broker.say(0, &packet);
        assert!(room.talk().is_err(), "{packet:?}");
    }
    let mut early = Room::new(Qos::AtMostOnce, Manner::Good, 1, 1, 1);
    early.broker.out.clear();
    early.broker.say(0, &Packet::PingResp);
    assert!(early.talk().is_err());
}

#[test]
fn a_send_that_cannot_be_ends_the_connection() {
    let mut room = Room::settled(Qos::AtLeastOnce, Manner::Good, 1, 1, 1);
    let mut out = Vec::new();
    let talk = &mut room.talks[0];
    for number in 0..=IN_FLIGHT_MAX as u32 {
        assert!(room.driver.tick(0, talk, 0, &mut out).is_ok(), "{number}");
        out.clear();
        room.driver.send(0, talk, 0, &payload(number), 0, 0, &mut out);
    }
    assert!(out.is_empty());
    let error = room.driver.tick(0, talk, 0, &mut out).unwrap_err();
    assert!(error.to_string().contains("65535"), "{error}");

    let mut room = Room::settled(Qos::AtMostOnce, Manner::Good, 1, 1, 1);
    room.driver.send(0, &mut room.talks[0], 0, &payload(0), 1 << 20, 0, &mut out);
    assert!(out.is_empty() && room.tick(0).is_err());
}
