//! What a person asks for, checked: nothing unchecked goes past here.

use damso_proto::id::{ChannelNo, Seq, Uid, UserNo};
use damso_proto::wire;
use damso_proto::wire::{EventFlag, EventKind};

use super::body::BodyHash;
use super::limits;
use super::rights::{Kind, Role, Sight};

/// Flags that a sender may set.
const SENDER_FLAGS: u32 = EventFlag::Silent as u32 | EventFlag::Uncounted as u32;

/// Why a request cannot be taken as it is. Repeating it unchanged is useless.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Invalid {
    /// A field that must be there is not, or is of a kind that this server does not know.
    #[error("{field} is missing")]
    Missing {
        /// Path in the request.
        field: &'static str,
    },
    /// Too long, or too many of them.
    #[error("{field} is longer than {max}")]
    TooLarge {
        /// Path in the request.
        field: &'static str,
        /// Most bytes, or most entries.
        max: usize,
    },
    /// A value that means nothing here.
    #[error("{field} is not valid")]
    Value {
        /// Path in the request.
        field: &'static str,
    },
}

impl Invalid {
    /// The field at fault, as a path in the request.
    pub const fn field(&self) -> &'static str {
        match *self {
            Self::Missing { field } | Self::TooLarge { field, .. } | Self::Value { field } => field,
        }
    }
}

/// A message that may be appended, once its sender turns out to have the right.
#[derive(Clone, PartialEq, Debug)]
pub struct Draft {
    /// Where to.
    pub channel: ChannelNo,
    /// What it answers; [`Seq::ZERO`]: nothing. Whether that exists is the owner's to say.
    pub reply_to: Seq,
    /// Tells a repetition from another message under the same key.
    pub body: BodyHash,
    flags: u32,
    content: wire::send::Content,
}

impl Draft {
    /// Checks a send.
    ///
    /// # Errors
    /// [`Invalid`] names the first field at fault.
    pub fn check(send: wire::Send) -> Result<Self, Invalid> {
        if send.channel == 0 {
            return Err(Invalid::Missing { field: "channel" });
        }
        if send.flags & !SENDER_FLAGS != 0 {
            return Err(Invalid::Value { field: "flags" });
        }
        let content = send.content.ok_or(Invalid::Missing { field: "content" })?;
        check_content(&content)?;
        let body = hash_of(send.flags, send.reply_to, &content);
        Ok(Self {
            channel: ChannelNo::new(send.channel),
            reply_to: Seq::new(send.reply_to),
            body,
            flags: send.flags,
            content,
        })
    }

    /// The event that `sender` appends; its place is stamped by the channel's owner.
    pub fn into_event(self, sender: UserNo) -> wire::Event {
        wire::Event {
            kind: EventKind::Message.into(),
            sender: sender.get(),
            flags: self.flags,
            reply_to: self.reply_to.get(),
            content: Some(match self.content {
                wire::send::Content::Text(text) => wire::event::Content::Text(text),
                wire::send::Content::Custom(custom) => wire::event::Content::Custom(custom),
            }),
            ..Default::default()
        }
    }

    /// Whether it raises the unread count.
    pub const fn is_counted(&self) -> bool {
        self.flags & EventFlag::Uncounted as u32 == 0
    }
}

fn check_content(content: &wire::send::Content) -> Result<(), Invalid> {
    match content {
        wire::send::Content::Text(text) => {
            length("text", text.len(), limits::TEXT_BYTES_MAX)?;
        }
        wire::send::Content::Custom(custom) => {
            length("custom.type", custom.r#type.len(), limits::CUSTOM_TYPE_BYTES_MAX)?;
            printable("custom.type", &custom.r#type)?;
            if custom.body.len() > limits::CUSTOM_BYTES_MAX {
                let max = limits::CUSTOM_BYTES_MAX;
                return Err(Invalid::TooLarge { field: "custom.body", max });
            }
        }
    }
    Ok(())
}

fn hash_of(flags: u32, reply_to: u64, content: &wire::send::Content) -> BodyHash {
    let (flags, reply_to) = (flags.to_be_bytes(), reply_to.to_be_bytes());
    match content {
        wire::send::Content::Text(text) => {
            BodyHash::of("send.text", &[&flags, &reply_to, text.as_bytes()])
        }
        wire::send::Content::Custom(custom) => BodyHash::of(
            "send.custom",
            &[&flags, &reply_to, custom.r#type.as_bytes(), &custom.body],
        ),
    }
}

/// A group that may be made, once its people turn out to exist.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelDraft {
    /// A group or a broadcast.
    pub kind: Kind,
    /// 1-128 bytes.
    pub name: Box<str>,
    /// Whom to add, each once, in the order named.
    pub uids: Vec<Uid>,
    /// Tells a repetition from another group under the same key.
    pub body: BodyHash,
}

impl ChannelDraft {
    /// Checks a request for a channel of its maker and at most `uids_max` others.
    ///
    /// # Errors
    /// [`Invalid`] names the first field at fault.
    pub fn check(request: &wire::CreateChannel, uids_max: usize) -> Result<Self, Invalid> {
        let kind = match Kind::from_wire(request.kind) {
            None if request.kind == 0 => Kind::Group,
            Some(kind @ (Kind::Group | Kind::Broadcast)) => kind,
            None | Some(Kind::Direct | Kind::Personal) => {
                return Err(Invalid::Value { field: "kind" });
            }
        };
        check_name(&request.name)?;
        let uids = people(&request.uids, uids_max)?;
        let kind_byte = [kind.to_wire() as u8];
        let body = hash("create_channel", &[&kind_byte, request.name.as_bytes()], &uids);
        Ok(Self { kind, name: request.name.as_str().into(), uids, body })
    }
}

/// Whom to add to a channel, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MembersDraft {
    /// Where to.
    pub channel: ChannelNo,
    /// Whom, each once, in the order named.
    pub uids: Vec<Uid>,
    /// As what; `None`: as the kind of channel has it.
    pub role: Option<Role>,
    /// What they see.
    pub sight: Sight,
    /// Tells a repetition from another request under the same key.
    pub body: BodyHash,
}

impl MembersDraft {
    /// Checks a request to add at most `uids_max` people.
    ///
    /// # Errors
    /// [`Invalid`] names the first field at fault.
    pub fn check(request: &wire::AddMembers, uids_max: usize) -> Result<Self, Invalid> {
        let role = match Role::from_wire(request.role) {
            None if request.role != 0 => return Err(Invalid::Value { field: "role" }),
            Some(Role::Owner) => return Err(Invalid::Value { field: "role" }),
            role => role,
        };
        if request.uids.is_empty() {
            return Err(Invalid::Missing { field: "uids" });
        }
        let uids = people(&request.uids, uids_max)?;
        let sight = if request.history { Sight::FromStart } else { Sight::FromHere };
        let how = [request.role.to_be_bytes(), i32::from(request.history).to_be_bytes()].concat();
        let body = hash("add_members", &[&request.channel.to_be_bytes(), &how], &uids);
        Ok(Self { channel: ChannelNo::new(request.channel), uids, role, sight, body })
    }
}

/// People by uid, each once, in the order named.
fn people(named: &[String], max: usize) -> Result<Vec<Uid>, Invalid> {
    if named.len() > max {
        return Err(Invalid::TooLarge { field: "uids", max });
    }
    let mut uids = Vec::with_capacity(named.len());
    for uid in named {
        let uid = Uid::parse(uid).ok_or(Invalid::Value { field: "uids" })?;
        // At most some hundreds, so that looking through them is cheap.
        if !uids.contains(&uid) {
            uids.push(uid);
        }
    }
    Ok(uids)
}

fn hash(what: &'static str, fields: &[&[u8]], uids: &[Uid]) -> BodyHash {
    let uids = uids.iter().map(|uid| uid.as_str().as_bytes());
    BodyHash::of(what, &fields.iter().copied().chain(uids).collect::<Vec<_>>())
}

/// A channel's name: 1-128 bytes without control characters.
pub(super) fn check_name(name: &str) -> Result<(), Invalid> {
    length("name", name.len(), limits::GROUP_NAME_BYTES_MAX)?;
    printable("name", name)
}

fn length(field: &'static str, bytes: usize, max: usize) -> Result<(), Invalid> {
    match bytes {
        0 => Err(Invalid::Missing { field }),
        _ if bytes > max => Err(Invalid::TooLarge { field, max }),
        _ => Ok(()),
    }
}

/// For names only: a message's text may hold any character, line breaks above all.
fn printable(field: &'static str, text: &str) -> Result<(), Invalid> {
    if text.chars().any(char::is_control) { Err(Invalid::Value { field }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use damso_proto::wire::send::Content;

    use super::*;

    fn send(content: Content) -> wire::Send {
        wire::Send { channel: 4, content: Some(content), ..Default::default() }
    }

    fn text(len: usize) -> Content {
        Content::Text("x".repeat(len))
    }

    fn custom(name: &str, body: usize) -> Content {
        Content::Custom(wire::Custom { r#type: name.into(), body: vec![0; body].into() })
    }

    #[test]
    fn every_limit_holds_to_the_byte_and_names_its_field() {
        let long = "t".repeat(65);
        let cases = [
            (send(text(1)), None),
            (send(text(16 * 1024)), None),
            (send(text(0)), Some(Invalid::Missing { field: "text" })),
            (send(text(16 * 1024 + 1)), Some(Invalid::TooLarge { field: "text", max: 16_384 })),
            (send(custom("poll/1", 0)), None),
            (send(custom(&long[1..], 16 * 1024)), None),
            (send(custom("", 1)), Some(Invalid::Missing { field: "custom.type" })),
            (send(custom(&long, 1)), Some(Invalid::TooLarge { field: "custom.type", max: 64 })),
            (send(custom("a\n", 1)), Some(Invalid::Value { field: "custom.type" })),
            (
                send(custom("a", 16 * 1024 + 1)),
                Some(Invalid::TooLarge { field: "custom.body", max: 16_384 }),
            ),
            (wire::Send { flags: 3, ..send(text(1)) }, None),
            (wire::Send { flags: 4, ..send(text(1)) }, Some(Invalid::Value { field: "flags" })),
            (
                wire::Send { channel: 0, ..send(text(1)) },
                Some(Invalid::Missing { field: "channel" }),
            ),
            (
                wire::Send { channel: 4, ..Default::default() },
                Some(Invalid::Missing { field: "content" }),
            ),
        ];
        for (number, (send, fault)) in cases.into_iter().enumerate() {
            assert_eq!(Draft::check(send).err(), fault, "case {number}");
        }
    }

    #[test]
    fn the_event_says_what_the_draft_said() {
        let draft = Draft::check(wire::Send { flags: 2, reply_to: 9, ..send(text(3)) }).unwrap();
        assert!(!draft.is_counted());
        let event = draft.into_event(UserNo::new(7));
        let expected = wire::Event {
            sender: 7,
            flags: 2,
            reply_to: 9,
            content: Some(wire::event::Content::Text("xxx".into())),
            ..Default::default()
        };
        assert_eq!(event, expected);
    }

    #[test]
    fn the_hash_differs_with_everything_that_the_sender_chose() {
        let base = send(custom("a", 1));
        let others = [
            wire::Send { flags: 1, ..base.clone() },
            wire::Send { reply_to: 1, ..base.clone() },
            send(custom("b", 1)),
            send(custom("a", 2)),
            send(Content::Text("a".into())),
        ];
        let hash = |send: &wire::Send| Draft::check(send.clone()).unwrap().body;
        assert_eq!(hash(&base), hash(&base.clone()));
        for other in &others {
            assert_ne!(hash(&base), hash(other), "{other:?}");
        }
    }

    #[test]
    fn a_channel_has_a_name_and_each_person_once() {
        let request = |name: &str, uids: &[&str]| wire::CreateChannel {
            name: name.into(),
            uids: uids.iter().map(|uid| (*uid).into()).collect(),
            ..Default::default()
        };
        let group = ChannelDraft::check(&request("점심", &["b", "a", "b"]), 100).unwrap();
        assert_eq!(group.uids, [Uid::parse("b").unwrap(), Uid::parse("a").unwrap()]);
        assert_eq!(group.kind, Kind::Group);
        let of_kind = |kind| wire::CreateChannel { kind, ..request("a", &[]) };
        let broadcast =
            ChannelDraft::check(&of_kind(Kind::Broadcast.to_wire() as i32), 100).unwrap();
        assert_eq!(broadcast.kind, Kind::Broadcast);
        let many: Vec<_> = (0..101).map(|n| n.to_string()).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        for (request, fault) in [
            (request("", &[]), Invalid::Missing { field: "name" }),
            (request(&"n".repeat(129), &[]), Invalid::TooLarge { field: "name", max: 128 }),
            (request("a\u{0}", &[]), Invalid::Value { field: "name" }),
            (request("a", &[""]), Invalid::Value { field: "uids" }),
            (request("a", &many), Invalid::TooLarge { field: "uids", max: 100 }),
            (of_kind(Kind::Direct.to_wire() as i32), Invalid::Value { field: "kind" }),
            (of_kind(99), Invalid::Value { field: "kind" }),
        ] {
            assert_eq!(ChannelDraft::check(&request, 100), Err(fault));
        }
    }

    #[test]
    fn people_are_added_in_a_role_below_the_owners() {
        let request = |uids: &[&str], role| wire::AddMembers {
            channel: 2,
            uids: uids.iter().map(|uid| (*uid).into()).collect(),
            role,
            history: true,
        };
        let role = |role: Role| role.to_wire() as i32;
        let draft = MembersDraft::check(&request(&["b"], role(Role::Reader)), 100).unwrap();
        assert_eq!((draft.role, draft.sight), (Some(Role::Reader), Sight::FromStart));
        let other = MembersDraft::check(&request(&["b"], 0), 100).unwrap();
        assert_eq!(other.role, None);
        assert_ne!(other.body, draft.body, "another request under the same key");
        for (request, fault) in [
            (request(&[], 0), Invalid::Missing { field: "uids" }),
            (request(&["a"], role(Role::Owner)), Invalid::Value { field: "role" }),
            (request(&["a"], 99), Invalid::Value { field: "role" }),
            (request(&["a", ""], 0), Invalid::Value { field: "uids" }),
        ] {
            assert_eq!(MembersDraft::check(&request, 100), Err(fault));
        }
    }
}
