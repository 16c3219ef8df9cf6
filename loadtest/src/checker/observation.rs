//! What an observer can report, with bodies reduced to hashes.

use std::hash::{BuildHasher as _, Hasher as _};

use damso_proto::id::{ChannelNo, Key, MessageId, Seq, UserNo};
use damso_proto::wire;
use foldhash::quality::FixedState;
use prost::Message as _;

/// One receiving device. Outlives its sessions; the number is the observer's own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReceiverNo(pub u64);

/// One connection of a sender or receiver; the number is the observer's own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SessionNo(pub u64);

/// 64 bits that stand for a body. Equal only between processes of one build.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BodyHash(pub(super) u64);

impl BodyHash {
    /// Hashes a text.
    pub fn of_text(text: &str) -> Self {
        Self::tagged(0, &[text.as_bytes()])
    }

    /// Hashes a custom content.
    pub fn of_custom(custom: &wire::Custom) -> Self {
        Self::tagged(1, &[custom.r#type.as_bytes(), &custom.body])
    }

    fn tagged(tag: u8, parts: &[&[u8]]) -> Self {
        let mut hasher = FixedState::with_seed(0).build_hasher();
        hasher.write_u8(tag);
        for part in parts {
            hasher.write_usize(part.len());
            hasher.write(part);
        }
        Self(hasher.finish())
    }
}

/// What stands at a place of a log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Somebody sent it.
    Message {
        /// Who.
        sender: UserNo,
        /// What. Two sends of one sender to one channel must not have the same.
        body: BodyHash,
    },
    /// The server wrote it: rights, settings.
    Other(BodyHash),
}

/// One event as somebody saw it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Whose log.
    pub channel: ChannelNo,
    /// Its position there.
    pub seq: Seq,
    /// Its id.
    pub id: MessageId,
    /// What it says.
    pub content: Content,
}

impl From<&wire::Event> for Seen {
    fn from(event: &wire::Event) -> Self {
        use wire::event::Content as Wire;
        let sender = UserNo::new(event.sender);
        let content = match &event.content {
            Some(Wire::Text(text)) => Content::Message { sender, body: BodyHash::of_text(text) },
            Some(Wire::Custom(custom)) => {
                Content::Message { sender, body: BodyHash::of_custom(custom) }
            }
            Some(Wire::System(system)) => {
                Content::Other(BodyHash::tagged(2, &[&system.encode_to_vec()]))
            }
            None => Content::Other(BodyHash::tagged(3, &[])),
        };
        Self {
            channel: ChannelNo::new(event.channel),
            seq: Seq::new(event.seq),
            id: MessageId::new(event.id),
            content,
        }
    }
}

/// Something that happened. Reported in the order in which it happened: a `Sent` before its bytes
/// leave, everything else after it arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Observation {
    /// A send leaves; reported again with the same key for every repetition.
    Sent {
        /// Whose message.
        sender: UserNo,
        /// Over which connection: sends of one session to one channel keep their order.
        session: SessionNo,
        /// Where to.
        channel: ChannelNo,
        /// The send's name.
        key: Key,
        /// What it says.
        body: BodyHash,
    },
    /// The server took it.
    Acked {
        /// Which send.
        key: Key,
        /// Where it stands now.
        channel: ChannelNo,
        /// Its position there.
        seq: Seq,
        /// Its id.
        id: MessageId,
        /// The server says that the key was known.
        duplicate: bool,
    },
    /// The server said that this attempt was surely not stored.
    Refused {
        /// Which send.
        key: Key,
    },
    /// The server, or the sender, does not know what became of this attempt.
    Doubtful {
        /// Which send.
        key: Key,
    },
    /// An event came in.
    Received {
        /// Where.
        receiver: ReceiverNo,
        /// Over which connection.
        session: SessionNo,
        /// What.
        seen: Seen,
    },
    /// A session begins and says what it has. A session that hands over nothing continues.
    Resumed {
        /// Whose.
        receiver: ReceiverNo,
        /// The new connection.
        session: SessionNo,
        /// Which log.
        channel: ChannelNo,
        /// The last contiguous seq it has.
        cursor: Seq,
    },
    /// The server said that events up to `to` do not come: the channel is `behind`, or the receiver
    /// was added to it (again) after them.
    Skipped {
        /// Who was told.
        receiver: ReceiverNo,
        /// Which log.
        channel: ChannelNo,
        /// The last seq that does not come.
        to: Seq,
    },
    /// The receiver was removed from the channel, and the remover has the answer.
    Removed {
        /// Who.
        receiver: ReceiverNo,
        /// From where.
        channel: ChannelNo,
        /// The event that tells it: the last one for this receiver.
        last: Seq,
    },
    /// By the end this receiver must have been given this event, or an earlier one, first. Without
    /// it, or a `Resumed` before, a receiver may begin anywhere, and what it missed until then is
    /// not noticed.
    MustStart {
        /// Who.
        receiver: ReceiverNo,
        /// In which log.
        channel: ChannelNo,
        /// The first event that it may see.
        from: Seq,
    },
    /// By the end this receiver must have come this far.
    MustReach {
        /// Who.
        receiver: ReceiverNo,
        /// In which log.
        channel: ChannelNo,
        /// How far.
        seq: Seq,
    },
    /// An event read back from history.
    Stored {
        /// What.
        seen: Seen,
    },
    /// A channel's history has been read in full since the last such report; now judge by it.
    ReadBack {
        /// Which log.
        channel: ChannelNo,
        /// The first seq that the reader may see.
        from: Seq,
        /// The channel's head.
        head: Seq,
    },
}
