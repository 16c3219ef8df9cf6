//! What a server said, typed. Events stay bytes until someone wants to read them.

use prost::DecodeError;
use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::id::{ChannelNo, MessageId, RequestId, Seq};
use crate::wire;
use crate::wire::server_frame::Kind;

/// One frame of the server's. Only events borrow the bytes that they came in.
#[derive(Debug)]
pub enum Heard<'a> {
    /// An entry of a channel's log, live or as part of the resume.
    Event(EventBytes<'a>),
    /// The send `id` is durable.
    Ack {
        /// The request that this answers.
        id: RequestId,
        /// Where the message stands.
        ack: wire::Ack,
    },
    /// The request `id` was not carried out.
    Refused {
        /// The request that this answers.
        id: RequestId,
        /// Why, and whether trying again can help.
        refusal: Box<wire::Refusal>,
    },
    /// The answer to request `id`, or a part of it.
    Answer {
        /// The request that this answers.
        id: RequestId,
        /// Further parts follow.
        more: bool,
        /// What was asked for.
        answer: Answer,
    },
    /// Login succeeded. Heard once, before everything below.
    Welcome(Box<wire::Welcome>),
    /// What became of the sends that Resume named as pending.
    Outcomes(wire::Outcomes),
    /// How one channel of the resume stands; live, that events were skipped.
    Standing(Box<wire::Standing>),
    /// Everything that Resume asked for has been said.
    Resumed {
        /// Channels that the person is in now.
        channels: u32,
    },
    /// Answer it at once with [`ClientConn::pong`](super::ClientConn::pong).
    Ping(u64),
    /// The answer to a probe. Nothing is left to do.
    Pong(wire::Pong),
    /// The token ends soon, milliseconds since 1970.
    TokenExpiring(u64),
    /// The last frame of the connection.
    Closing(Box<wire::Closing>),
    /// A frame of a kind that this client does not know; 0: it answers no request.
    Unknown(RequestId),
}

/// What a request was answered with.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// Rows of a channel.
    Page(wire::Page),
    /// A channel was made or found.
    Channel(wire::ChannelInfo),
    /// The caller's channels.
    Channels(wire::ChannelList),
    /// A command took effect.
    Done(wire::Done),
    /// A group's members.
    Members(wire::MemberList),
    /// Who is kept out of a channel.
    Bans(wire::BanList),
    /// Whom the caller blocks.
    Blocks(wire::BlockList),
    /// Persons by number or uid.
    People(wire::People),
    /// What became of sends.
    Outcomes(wire::Outcomes),
    /// The new token counts.
    Renewed(wire::Renewed),
}

impl Heard<'_> {
    /// Sorts a decoded frame that is no event.
    pub(super) fn of(frame: wire::ServerFrame) -> Heard<'static> {
        let id = RequestId::new(frame.id);
        let more = frame.more;
        let answer = |answer| Heard::Answer { id, more, answer };
        match frame.kind {
            Some(Kind::Ack(ack)) => Heard::Ack { id, ack },
            Some(Kind::Refusal(refusal)) => Heard::Refused { id, refusal: Box::new(refusal) },
            Some(Kind::Page(page)) => answer(Answer::Page(page)),
            Some(Kind::Ping(ping)) => Heard::Ping(ping.id),
            Some(Kind::Pong(pong)) => Heard::Pong(pong),
            Some(Kind::Standing(standing)) => Heard::Standing(Box::new(standing)),
            Some(Kind::Welcome(welcome)) => Heard::Welcome(Box::new(welcome)),
            Some(Kind::Outcomes(outcomes)) if frame.id == 0 => Heard::Outcomes(outcomes),
            Some(Kind::Outcomes(outcomes)) => answer(Answer::Outcomes(outcomes)),
            Some(Kind::Resumed(resumed)) => Heard::Resumed { channels: resumed.channels },
            Some(Kind::Closing(closing)) => Heard::Closing(Box::new(closing)),
            Some(Kind::Channel(info)) => answer(Answer::Channel(info)),
            Some(Kind::ChannelList(list)) => answer(Answer::Channels(list)),
            Some(Kind::Done(done)) => answer(Answer::Done(done)),
            Some(Kind::MemberList(list)) => answer(Answer::Members(list)),
            Some(Kind::BanList(list)) => answer(Answer::Bans(list)),
            Some(Kind::BlockList(list)) => answer(Answer::Blocks(list)),
            Some(Kind::People(people)) => answer(Answer::People(people)),
            Some(Kind::Renewed(renewed)) => answer(Answer::Renewed(renewed)),
            Some(Kind::TokenExpiring(expiring)) => Heard::TokenExpiring(expiring.expires_ms),
            Some(Kind::Event(_)) | None => Heard::Unknown(id),
        }
    }
}

/// An event's place, and its bytes as they came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventBytes<'a> {
    /// The channel whose log it is in.
    pub channel: ChannelNo,
    /// Its position there.
    pub seq: Seq,
    /// Its id.
    pub id: MessageId,
    bytes: &'a [u8],
}

impl<'a> EventBytes<'a> {
    /// Reads the place alone and steps over the rest.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut event =
            Self { channel: ChannelNo::new(0), seq: Seq::ZERO, id: MessageId::new(0), bytes };
        let mut rest = bytes;
        while !rest.is_empty() {
            match decode_key(&mut rest)? {
                (1, WireType::Varint) => event.channel = ChannelNo::new(decode_varint(&mut rest)?),
                (2, WireType::Varint) => event.seq = Seq::new(decode_varint(&mut rest)?),
                (3, WireType::SixtyFourBit) => {
                    let mut id = 0;
                    let context = DecodeContext::default();
                    prost::encoding::fixed64::merge(
                        WireType::SixtyFourBit,
                        &mut id,
                        &mut rest,
                        context,
                    )?;
                    event.id = MessageId::new(id);
                }
                (tag, kind) => skip_field(kind, tag, &mut rest, DecodeContext::default())?,
            }
        }
        Ok(event)
    }

    /// The `Event` message as the server sent it, the same bytes for every receiver.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Reads the whole event.
    ///
    /// # Errors
    /// The server sent a damaged event.
    pub fn decode(&self) -> Result<wire::Event, DecodeError> {
        wire::Event::decode(self.bytes)
    }
}
