//! A channel as its member sees it, and how a copy of that stays true.

use std::collections::BTreeMap;

use damso_proto::id::{ChannelNo, Seq, UserNo};
use damso_proto::wire;

use crate::event::{Content, Event, Role, System};

/// What kind of channel it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelKind {
    /// Two people.
    Direct,
    /// Members who all write.
    Group,
    /// A few write, any number read.
    Broadcast,
    /// Of a kind that this version does not know.
    Other,
}

/// A channel as its member sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Channel {
    /// Its number.
    pub channel: ChannelNo,
    /// What it is.
    pub kind: ChannelKind,
    /// What this person may do there.
    pub role: Role,
    /// The first seq that this person may see.
    pub from: Seq,
    /// The last committed seq when it was asked for.
    pub head: Seq,
    /// Of a direct channel: the other person.
    pub peer: Option<UserNo>,
    /// Of a group or a broadcast: its name.
    pub name: String,
    /// Counts up with every change of its members, its name or what is noted on it.
    pub version: u64,
    /// How many people are in it.
    pub members: u64,
    /// What the backend calls it.
    pub key: Option<String>,
    /// What the backend noted on it.
    pub custom: BTreeMap<String, String>,
    /// This person may not write until then, milliseconds since 1970.
    pub muted_until_ms: u64,
}

impl Channel {
    /// Takes over what an event of this channel says of its name and of what is noted on it, unless
    /// this copy is newer. Returns whether it did. All else stays as it was asked for.
    ///
    /// Every event of the channel comes but those that [`Update`](crate::Update) says are skipped or
    /// rolled back: behind such a one, ask for the channel again.
    pub fn follow(&mut self, event: &Event) -> bool {
        let Content::System(System::ChannelUpdated { name, custom, version, .. }) = &event.content
        else {
            return false;
        };
        if event.channel != self.channel || *version <= self.version {
            return false;
        }
        self.version = *version;
        if let Some(name) = name {
            self.name.clone_from(name);
        }
        if let Some(custom) = custom {
            self.custom.clone_from(custom);
        }
        true
    }
}

impl From<wire::ChannelInfo> for Channel {
    fn from(info: wire::ChannelInfo) -> Self {
        Self {
            channel: ChannelNo::new(info.channel),
            kind: match info.kind() {
                wire::ChannelKind::Direct => ChannelKind::Direct,
                wire::ChannelKind::Group => ChannelKind::Group,
                wire::ChannelKind::Broadcast => ChannelKind::Broadcast,
                _ => ChannelKind::Other,
            },
            role: Role::from_wire(info.role()),
            from: Seq::new(info.from),
            head: Seq::new(info.head),
            peer: (info.peer != 0).then(|| UserNo::new(info.peer)),
            name: info.name,
            version: info.version,
            members: info.members,
            key: Some(info.key).filter(|key| !key.is_empty()),
            custom: info.custom,
            muted_until_ms: info.muted_until_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy() -> Channel {
        let custom = BTreeMap::from([("color".into(), "red".into())]);
        let (channel, name) = (4, "점심".to_owned());
        wire::ChannelInfo { channel, name, custom, version: 5, ..Default::default() }.into()
    }

    fn told(channel: u64, version: u64, name: Option<&str>, is_noted: bool) -> Event {
        let updated = wire::system::ChannelUpdated {
            by: 1,
            name: name.map(str::to_owned),
            custom: is_noted.then(wire::CustomMap::default),
            version,
        };
        let what = Some(wire::system::What::ChannelUpdated(updated));
        let content = Some(wire::event::Content::System(wire::System { what }));
        wire::Event { channel, seq: 9, content, ..Default::default() }.into()
    }

    #[test]
    fn a_copy_follows_what_is_newer_than_itself_and_nothing_else() {
        let mut channel = copy();
        assert!(!channel.follow(&told(6, 6, Some("another's"), true)));
        assert!(!channel.follow(&told(4, 5, Some("known already"), true)));
        assert_eq!(channel, copy());
        assert!(channel.follow(&told(4, 7, Some("저녁"), false)));
        assert_eq!(channel, Channel { name: "저녁".into(), version: 7, ..copy() });
        assert!(channel.follow(&told(4, 8, None, true)));
        let nothing = BTreeMap::new();
        assert_eq!(channel, Channel { name: "저녁".into(), version: 8, custom: nothing, ..copy() });
        assert!(!channel.follow(&told(4, 7, Some("an older one"), false)));
    }
}
