//! What is to be different about a channel, checked.

use damso_proto::id::ChannelNo;
use damso_proto::wire;

use super::body::BodyHash;
use super::draft::{Invalid, check_name};
use super::naming::CustomMap;
use super::rights::Op;

/// A new name, new notes, or both. What is `None` stays as it is.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ChannelUpdate {
    /// 1-128 bytes.
    pub name: Option<Box<str>>,
    /// Instead of all that was noted before.
    pub custom: Option<CustomMap>,
}

impl ChannelUpdate {
    /// All that whoever asks for it must be allowed.
    pub fn ops(&self) -> impl Iterator<Item = Op> + use<> {
        let rename = self.name.is_some().then_some(Op::Rename);
        let note = self.custom.is_some().then_some(Op::Note);
        rename.into_iter().chain(note)
    }

    /// Whether there is nothing in it.
    pub const fn is_empty(&self) -> bool {
        self.name.is_none() && self.custom.is_none()
    }
}

/// A request for an update.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpdateDraft {
    /// Of which channel.
    pub channel: ChannelNo,
    /// What is to be different.
    pub update: ChannelUpdate,
    /// Tells a repetition from another request under the same key.
    pub body: BodyHash,
}

impl UpdateDraft {
    /// Checks a request.
    ///
    /// # Errors
    /// [`Invalid`] names the first field at fault; of a request in which nothing is, `name`.
    pub fn check(request: wire::UpdateChannel) -> Result<Self, Invalid> {
        let wire::UpdateChannel { channel, name, custom } = request;
        if let Some(name) = &name {
            check_name(name)?;
        }
        let custom = custom.map(|custom| CustomMap::check(custom.entries)).transpose()?;
        let update = ChannelUpdate { name: name.map(String::into_boxed_str), custom };
        if update.is_empty() {
            return Err(Invalid::Missing { field: "name" });
        }
        let body = hash_of(channel, &update);
        Ok(Self { channel: ChannelNo::new(channel), update, body })
    }
}

fn hash_of(channel: u64, update: &ChannelUpdate) -> BodyHash {
    let channel = channel.to_be_bytes();
    let ChannelUpdate { name, custom } = update;
    // No name has 0 bytes, so an absent one is told apart.
    let name = name.as_deref().unwrap_or_default().as_bytes();
    let is_noted = [u8::from(custom.is_some())];
    let entries = custom.iter().flat_map(CustomMap::entries);
    let entries = entries.flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]);
    let fields: Vec<&[u8]> = [&channel[..], name, &is_noted].into_iter().chain(entries).collect();
    BodyHash::of("update_channel", &fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: Option<&str>, custom: Option<&[(&str, &str)]>) -> wire::UpdateChannel {
        let map = |entries: &[(&str, &str)]| {
            let owned = entries.iter().map(|(name, text)| ((*name).into(), (*text).into()));
            wire::CustomMap { entries: owned.collect() }
        };
        wire::UpdateChannel { channel: 4, name: name.map(str::to_owned), custom: custom.map(map) }
    }

    #[test]
    fn what_is_in_it_must_be_allowed_and_nothing_else() {
        for (name, custom, expected) in [
            (Some("점심"), None, &[Op::Rename][..]),
            (None, Some(&[][..]), &[Op::Note]),
            (Some("점심"), Some(&[("a", "1")][..]), &[Op::Rename, Op::Note]),
        ] {
            let draft = UpdateDraft::check(ask(name, custom)).expect("fits");
            assert_eq!(draft.update.ops().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn what_may_not_be_so_is_named() {
        let (name, custom) = ("name", "custom");
        for (request, fault) in [
            (ask(None, None), Invalid::Missing { field: name }),
            (ask(Some(""), None), Invalid::Missing { field: name }),
            (ask(Some("a\nb"), None), Invalid::Value { field: name }),
            (ask(Some(&"n".repeat(129)), None), Invalid::TooLarge { field: name, max: 128 }),
            (ask(Some("n"), Some(&[("", "1")])), Invalid::Value { field: custom }),
        ] {
            assert_eq!(UpdateDraft::check(request), Err(fault));
        }
        assert!(UpdateDraft::check(ask(Some(&"n".repeat(128)), None)).is_ok());
    }

    #[test]
    fn no_two_requests_have_the_same_hash() {
        let asks = [
            ask(Some("a"), None),
            ask(Some("b"), None),
            ask(Some("a"), Some(&[])),
            ask(None, Some(&[])),
            ask(None, Some(&[("a", "")])),
            ask(None, Some(&[("a", "b")])),
            wire::UpdateChannel { channel: 6, ..ask(Some("a"), None) },
        ];
        let hashes = asks.map(|request| UpdateDraft::check(request).expect("fits").body);
        for (at, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..at].contains(hash), "{at}");
        }
    }
}
