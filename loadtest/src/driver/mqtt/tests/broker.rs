//! A broker without sockets: what comes in on one connection goes out on others.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU16;

use super::super::codec::{Delivery, Fault, Packet, PacketId, Publish, Qos, SUBSCRIBE_FAILED};
use super::super::reader::Reader;

/// What it does wrong, on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manner {
    Good,
    /// CONNACK with this code.
    Refuses(u8),
    /// Every SUBACK refuses its last topic.
    Withholds,
    /// Every subscription is granted at QoS 0.
    Lowers,
    /// Each message is sent twice, the second one marked so.
    Repeats,
}

/// See the module.
pub(super) struct Broker {
    manner: Manner,
    readers: HashMap<u32, Reader>,
    members: BTreeMap<String, Vec<(u32, Qos)>>,
    next_id: u16,
    /// SUBSCRIBEs taken.
    pub(super) subscribes: usize,
    /// PUBACKs taken.
    pub(super) acks: usize,
    /// PINGREQs taken.
    pub(super) pings: usize,
    /// What goes out, by connection.
    pub(super) out: BTreeMap<u32, Vec<u8>>,
}

impl Broker {
    pub(super) fn new(manner: Manner) -> Self {
        Self {
            manner,
            readers: HashMap::new(),
            members: BTreeMap::new(),
            next_id: 0,
            subscribes: 0,
            acks: 0,
            pings: 0,
            out: BTreeMap::new(),
        }
    }

    /// Takes in what a connection says.
    pub(super) fn hear(&mut self, conn: u32, input: &[u8]) {
        let mut reader = self.readers.remove(&conn).unwrap_or_default();
        let result: Result<(), Fault> = reader.read(input, |packet| {
            self.take(conn, packet);
            Ok(())
        });
        result.expect("the driver speaks MQTT");
        self.readers.insert(conn, reader);
    }

    /// A clean session ends with its connection.
    pub(super) fn lose(&mut self, conn: u32) {
        self.readers.remove(&conn);
        self.out.remove(&conn);
        for members in self.members.values_mut() {
            members.retain(|(member, _)| *member != conn);
        }
    }

    fn take(&mut self, conn: u32, packet: Packet<'_>) {
        match packet {
            Packet::Connect { .. } => {
                let code = if let Manner::Refuses(code) = self.manner { code } else { 0 };
                self.say(conn, &Packet::ConnAck { session_present: false, code });
            }
            Packet::Subscribe { id, filters } => {
                self.subscribes += 1;
                let mut codes: Vec<u8> = filters.map(|(_, qos)| qos as u8).collect();
                match self.manner {
                    Manner::Withholds => *codes.last_mut().unwrap() = SUBSCRIBE_FAILED,
                    Manner::Lowers => codes.fill(0),
                    _ => {}
                }
                for (topic, qos) in filters {
                    self.members.entry(topic.into()).or_default().push((conn, qos));
                }
                self.say(conn, &Packet::SubAck { id, codes: &codes });
            }
            Packet::Publish(publish) => {
                if let Delivery::AtLeastOnce { id, .. } = publish.delivery {
                    self.say(conn, &Packet::PubAck(id));
                }
                self.deliver(&publish);
            }
            Packet::PubAck(_) => self.acks += 1,
            Packet::PingReq => {
                self.pings += 1;
                self.say(conn, &Packet::PingResp);
            }
            other => panic!("a client does not say {other:?}"),
        }
    }

    fn deliver(&mut self, publish: &Publish<'_>) {
        let members = self.members.get(publish.topic).cloned().unwrap_or_default();
        for (member, qos) in members {
            self.next_id = self.next_id % 1_000 + 1;
            let id = PacketId(NonZeroU16::new(self.next_id).unwrap());
            let sure = qos == Qos::AtLeastOnce && publish.delivery != Delivery::AtMostOnce;
            let delivery = |again| {
                if sure { Delivery::AtLeastOnce { id, again } } else { Delivery::AtMostOnce }
            };
            self.say(member, &Packet::Publish(Publish { delivery: delivery(false), ..*publish }));
            if self.manner == Manner::Repeats {
                self.say(
                    member,
                    &Packet::Publish(Publish { delivery: delivery(true), ..*publish }),
                );
            }
        }
    }

    pub(super) fn say(&mut self, conn: u32, packet: &Packet<'_>) {
        packet.encode(self.out.entry(conn).or_default()).unwrap();
    }
}
