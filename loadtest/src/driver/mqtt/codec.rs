//! Packets and their bytes (sections 2 and 3).
//!
//! ```text
//! | type 4 bits, flags 4 bits | remaining length, 1-4 bytes of 7 bits | that many bytes |
//!
//! text  | length u16 BE | UTF-8 without U+0000 |      id  | u16 BE, not 0 |
//! ```
//!
//! Both directions of every packet are here, so that tests can make a broker of it. QoS 2, wills,
//! credentials, sessions that are kept and UNSUBSCRIBE are not: they are a [`Fault`].

use std::num::NonZeroU16;

/// The longest packet that is sent or taken, with its header.
pub(super) const PACKET_BYTES_MAX: usize = 64 * 1024;
/// Type, flags and the longest remaining length.
const HEAD_BYTES_MAX: usize = 5;
/// What may follow the header.
pub(super) const BODY_BYTES_MAX: usize = PACKET_BYTES_MAX - HEAD_BYTES_MAX;
/// What a SUBACK says of a topic that it refuses.
pub(super) const SUBSCRIBE_FAILED: u8 = 0x80;
/// CONNECT's protocol name, level and flags: a clean session, and nothing else.
const PROTOCOL: [u8; 8] = [0, 4, b'M', b'Q', b'T', b'T', 4, 0b10];

/// Why bytes are no packet that this codec knows.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// Longer than [`PACKET_BYTES_MAX`].
    #[error("a packet of {0} bytes and its header; {PACKET_BYTES_MAX} are the most")]
    TooLong(usize),
    /// A type that is none or not known here, or flags that the type must not have.
    #[error("a packet that begins with {0:#04x}")]
    Head(u8),
    /// The remaining length has a fifth byte.
    #[error("a remaining length without an end")]
    Length,
    /// The packet ends before its fields do.
    #[error("a packet that ends too early")]
    Short,
    /// Bytes follow the last field.
    #[error("a packet with bytes behind its end")]
    Long,
    /// No UTF-8, U+0000, or a topic that must not be.
    #[error("a text that must not be")]
    Text,
    /// Packet id 0.
    #[error("packet id 0")]
    Id,
    /// A code or a flag with no meaning there.
    #[error("a code {0:#04x} where it means nothing")]
    Code(u8),
    /// CONNECT with another protocol, or with what is not done here.
    #[error("a CONNECT that is not MQTT 3.1.1 with a clean session alone")]
    Protocol,
}

/// How sure a delivery is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Qos {
    /// QoS 0: sent, and forgotten.
    AtMostOnce,
    /// QoS 1: each hop acknowledges, and may send again.
    AtLeastOnce,
}

/// Names a packet that waits for its answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct PacketId(pub(super) NonZeroU16);

/// What a PUBLISH says of its QoS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Delivery {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1; `again`: it may have come before (DUP).
    AtLeastOnce { id: PacketId, again: bool },
}

/// A message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Publish<'a> {
    pub(super) topic: &'a str,
    pub(super) delivery: Delivery,
    pub(super) retain: bool,
    pub(super) payload: &'a [u8],
}

/// A packet, whole and checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packet<'a> {
    Connect {
        client_id: &'a str,
        keep_alive_s: u16,
    },
    /// `code` 0: accepted.
    ConnAck {
        session_present: bool,
        code: u8,
    },
    Publish(Publish<'a>),
    PubAck(PacketId),
    Subscribe {
        id: PacketId,
        filters: Filters<'a>,
    },
    /// One code for each filter, in order: the granted QoS, or [`SUBSCRIBE_FAILED`].
    SubAck {
        id: PacketId,
        codes: &'a [u8],
    },
    PingReq,
    PingResp,
    Disconnect,
}

/// The topics of a SUBSCRIBE, checked; iterate to read them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Filters<'a>(&'a [u8]);

/// Topics for one SUBSCRIBE.
#[derive(Debug, Default)]
pub(super) struct FilterList(Vec<u8>);

impl FilterList {
    /// Adds a topic. `false`: the packet would become too long, and is as it was.
    pub(super) fn push(&mut self, topic: &str, qos: Qos) -> bool {
        let id_bytes = 2;
        if id_bytes + self.0.len() + text_bytes(topic) + 1 > BODY_BYTES_MAX {
            return false;
        }
        put_text(topic, &mut self.0);
        self.0.push(qos as u8);
        true
    }

    pub(super) fn filters(&self) -> Filters<'_> {
        Filters(&self.0)
    }
}

impl<'a> Iterator for Filters<'a> {
    type Item = (&'a str, Qos);

    fn next(&mut self) -> Option<Self::Item> {
        let mut fields = Fields(self.0);
        let filter = fields.filter().ok()?;
        self.0 = fields.0;
        Some(filter)
    }
}

impl Packet<'_> {
    /// Appends the packet to `out`.
    ///
    /// # Errors
    /// [`Fault::TooLong`]; nothing was appended.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let bytes = self.body_bytes();
        if bytes > BODY_BYTES_MAX {
            return Err(Fault::TooLong(bytes));
        }
        out.reserve(HEAD_BYTES_MAX + bytes);
        out.push(self.head());
        put_length(bytes, out);
        match *self {
            Self::Connect { client_id, keep_alive_s } => {
                out.extend_from_slice(&PROTOCOL);
                out.extend_from_slice(&keep_alive_s.to_be_bytes());
                put_text(client_id, out);
            }
            Self::ConnAck { session_present, code } => {
                out.extend_from_slice(&[u8::from(session_present), code]);
            }
            Self::Publish(Publish { topic, delivery, payload, .. }) => {
                put_text(topic, out);
                if let Delivery::AtLeastOnce { id, .. } = delivery {
                    put_id(id, out);
                }
                out.extend_from_slice(payload);
            }
            Self::PubAck(id) => put_id(id, out),
            Self::Subscribe { id, filters: Filters(body) } | Self::SubAck { id, codes: body } => {
                put_id(id, out);
                out.extend_from_slice(body);
            }
            Self::PingReq | Self::PingResp | Self::Disconnect => {}
        }
        Ok(())
    }

    fn body_bytes(&self) -> usize {
        match self {
            Self::Connect { client_id, .. } => PROTOCOL.len() + 2 + text_bytes(client_id),
            Self::ConnAck { .. } | Self::PubAck(_) => 2,
            Self::Publish(Publish { topic, delivery, payload, .. }) => {
                let id_bytes = if *delivery == Delivery::AtMostOnce { 0 } else { 2 };
                text_bytes(topic) + id_bytes + payload.len()
            }
            Self::Subscribe { filters: Filters(body), .. } | Self::SubAck { codes: body, .. } => {
                2 + body.len()
            }
            Self::PingReq | Self::PingResp | Self::Disconnect => 0,
        }
    }

    fn head(&self) -> u8 {
        match self {
            Self::Connect { .. } => 0x10,
            Self::ConnAck { .. } => 0x20,
            Self::Publish(Publish { delivery, retain, .. }) => {
                let delivery = match delivery {
                    Delivery::AtMostOnce => 0,
                    Delivery::AtLeastOnce { again, .. } => u8::from(*again) << 3 | 0b10,
                };
                0x30 | delivery | u8::from(*retain)
            }
            Self::PubAck(_) => 0x40,
            Self::Subscribe { .. } => 0x82,
            Self::SubAck { .. } => 0x90,
            Self::PingReq => 0xc0,
            Self::PingResp => 0xd0,
            Self::Disconnect => 0xe0,
        }
    }
}

/// Reads the packet at the front of `input`, and says how long it is. `None`: it is not whole yet.
///
/// # Errors
/// [`Fault`]: nothing behind it can be read. A packet that is too long is one as soon as its
/// header is there, so nobody has to keep more than [`PACKET_BYTES_MAX`].
pub(super) fn decode(input: &[u8]) -> Result<Option<(Packet<'_>, usize)>, Fault> {
    let Some((&head, rest)) = input.split_first() else { return Ok(None) };
    check_head(head)?;
    let Some((bytes, rest)) = take_length(rest)? else { return Ok(None) };
    if bytes > BODY_BYTES_MAX {
        return Err(Fault::TooLong(bytes));
    }
    let Some((body, rest)) = rest.split_at_checked(bytes) else { return Ok(None) };
    Ok(Some((body_of(head, Fields(body))?, input.len() - rest.len())))
}

/// Flags are reserved for all but PUBLISH (table 2.2).
fn check_head(head: u8) -> Result<(), Fault> {
    match head {
        0x10 | 0x20 | 0x40 | 0x82 | 0x90 | 0xc0 | 0xd0 | 0xe0 => Ok(()),
        // QoS 0 comes once only [MQTT-3.3.1-2].
        0x30 | 0x31 | 0x32 | 0x33 | 0x3a | 0x3b => Ok(()),
        _ => Err(Fault::Head(head)),
    }
}

fn body_of(head: u8, mut fields: Fields<'_>) -> Result<Packet<'_>, Fault> {
    let packet = match head {
        0x10 => fields.connect()?,
        0x20 => fields.conn_ack()?,
        0x40 => Packet::PubAck(fields.id()?),
        0x82 => fields.subscribe()?,
        0x90 => fields.sub_ack()?,
        0xc0 => Packet::PingReq,
        0xd0 => Packet::PingResp,
        0xe0 => Packet::Disconnect,
        _ => fields.publish(head)?,
    };
    if fields.0.is_empty() { Ok(packet) } else { Err(Fault::Long) }
}

/// What is left of a packet's body.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Fault::Short)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn id(&mut self) -> Result<PacketId, Fault> {
        let id = NonZeroU16::new(u16::from_be_bytes(self.bytes()?));
        id.map(PacketId).ok_or(Fault::Id)
    }

    fn text(&mut self) -> Result<&'a str, Fault> {
        let bytes = usize::from(u16::from_be_bytes(self.bytes()?));
        let (text, rest) = self.0.split_at_checked(bytes).ok_or(Fault::Short)?;
        self.0 = rest;
        let text = std::str::from_utf8(text).map_err(|_| Fault::Text)?;
        if text.contains('\0') { Err(Fault::Text) } else { Ok(text) }
    }

    /// A topic name, or a filter, is not empty [MQTT-4.7.3-1].
    fn topic(&mut self) -> Result<&'a str, Fault> {
        self.text().and_then(|text| if text.is_empty() { Err(Fault::Text) } else { Ok(text) })
    }

    fn filter(&mut self) -> Result<(&'a str, Qos), Fault> {
        let topic = self.topic()?;
        match self.bytes()? {
            [0] => Ok((topic, Qos::AtMostOnce)),
            [1] => Ok((topic, Qos::AtLeastOnce)),
            [code] => Err(Fault::Code(code)),
        }
    }

    /// Everything that is left.
    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    fn connect(&mut self) -> Result<Packet<'a>, Fault> {
        if self.bytes()? != PROTOCOL {
            return Err(Fault::Protocol);
        }
        let keep_alive_s = u16::from_be_bytes(self.bytes()?);
        Ok(Packet::Connect { client_id: self.text()?, keep_alive_s })
    }

    fn conn_ack(&mut self) -> Result<Packet<'a>, Fault> {
        let [flags, code] = self.bytes()?;
        match (flags, code) {
            // A refusal has no session [MQTT-3.2.2-4].
            (0, _) | (1, 0) => Ok(Packet::ConnAck { session_present: flags == 1, code }),
            _ => Err(Fault::Code(flags)),
        }
    }

    fn publish(&mut self, head: u8) -> Result<Packet<'a>, Fault> {
        let topic = self.topic()?;
        if topic.contains(['+', '#']) {
            return Err(Fault::Text);
        }
        let delivery = match head & 0b110 {
            0 => Delivery::AtMostOnce,
            _ => Delivery::AtLeastOnce { id: self.id()?, again: head & 0b1000 != 0 },
        };
        let (retain, payload) = (head & 1 != 0, self.rest());
        Ok(Packet::Publish(Publish { topic, delivery, retain, payload }))
    }

    fn subscribe(&mut self) -> Result<Packet<'a>, Fault> {
        let id = self.id()?;
        let filters = Filters(self.0);
        // At least one [MQTT-3.8.3-3].
        self.filter()?;
        while !self.0.is_empty() {
            self.filter()?;
        }
        Ok(Packet::Subscribe { id, filters })
    }

    fn sub_ack(&mut self) -> Result<Packet<'a>, Fault> {
        let id = self.id()?;
        let codes = self.rest();
        match codes.iter().find(|code| !matches!(**code, 0..=2 | SUBSCRIBE_FAILED)) {
            Some(code) => Err(Fault::Code(*code)),
            None => Ok(Packet::SubAck { id, codes }),
        }
    }
}

/// The remaining length and what follows it. `None`: it is not whole yet.
fn take_length(input: &[u8]) -> Result<Option<(usize, &[u8])>, Fault> {
    let mut length = 0;
    for (at, byte) in input.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((length, &input[at + 1..])));
        }
    }
    if input.len() < 4 { Ok(None) } else { Err(Fault::Length) }
}

fn put_length(mut length: usize, out: &mut Vec<u8>) {
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn put_id(PacketId(id): PacketId, out: &mut Vec<u8>) {
    out.extend_from_slice(&id.get().to_be_bytes());
}

fn text_bytes(text: &str) -> usize {
    2 + text.len()
}

/// A text that fits into a packet is shorter than its length field can say.
fn put_text(text: &str, out: &mut Vec<u8>) {
    const { assert!(BODY_BYTES_MAX < u16::MAX as usize) }
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}
