//! Numbers and names that both ends speak of, each a type of its own.
//!
//! ```text
//! ChannelNo  even: channel n, made by the directory | odd: 2 * user + 1, that person's `self` log
//! MessageId  0 | 41 bits of milliseconds since 2026-01-01 UTC | 10 bits of machine | 12 bits of sequence
//! Key        UUIDv7: 48 bits of milliseconds since 1970, then version, variant and randomness
//! ```

use std::fmt;

/// Milliseconds from 1970 to 2026-01-01 UTC, where the time of a [`MessageId`] starts.
pub const ID_EPOCH_MS: u64 = 1_767_225_600_000;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Wraps a number as it stands on the wire and on disk.
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The number as it stands on the wire and on disk.
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// A person, inside. Outside they are a `uid`. 0 is nobody.
    UserNo
}
number! {
    /// A channel. Odd numbers are people's own logs.
    ChannelNo
}
number! {
    /// An event's position in its channel: dense, from 1. 0 stands before the first event.
    Seq
}
number! {
    /// A Snowflake: unique everywhere, rising with seq within a channel. Never a capability.
    MessageId
}
number! {
    /// A stretch of history between restores, from 1.
    Epoch
}
number! {
    /// How many countable messages a channel's log holds up to an event.
    Ordinal
}
number! {
    /// A client's name for one of its requests in flight. 0 is no request.
    RequestId
}

impl ChannelNo {
    /// The number of a person's own log.
    pub const fn self_of(user: UserNo) -> Self {
        Self(user.0 << 1 | 1)
    }

    /// Whose own log this is. `None`: an ordinary channel.
    pub const fn self_user(self) -> Option<UserNo> {
        if self.0 & 1 == 1 { Some(UserNo(self.0 >> 1)) } else { None }
    }
}

impl Seq {
    /// Stands before the first event.
    pub const ZERO: Self = Self(0);
    /// Above every event.
    pub const MAX: Self = Self(u64::MAX);

    /// The position behind this one. Saturates, which no channel lives to see.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The position before this one; [`Seq::ZERO`] stays.
    #[must_use]
    pub const fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl MessageId {
    /// When it was minted, milliseconds since 1970.
    pub const fn unix_ms(self) -> u64 {
        (self.0 >> 22) + ID_EPOCH_MS
    }
}

/// An idempotency key: a UUIDv7 made at the first attempt of a mutating request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 16]);

impl Key {
    /// Takes the 16 bytes of a UUIDv7. `None`: another length, or not version 7.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: [u8; 16] = bytes.try_into().ok()?;
        (bytes[6] >> 4 == 7 && bytes[8] >> 6 == 2).then_some(Self(bytes))
    }

    /// A key made at `unix_ms`, its random bits from `random`.
    pub fn new(unix_ms: u64, random: [u8; 10]) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&unix_ms.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&random);
        bytes[6] = bytes[6] & 0x0f | 0x70;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        Self(bytes)
    }

    /// When it was made, milliseconds since 1970 on the maker's clock.
    pub fn unix_ms(&self) -> u64 {
        let mut ms = [0; 8];
        ms[2..].copy_from_slice(&self.0[..6]);
        u64::from_be_bytes(ms)
    }

    /// The 16 bytes as they stand on the wire and on disk.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:032x})", u128::from_be_bytes(self.0))
    }
}

/// How a person is called outside: 1-64 bytes of UTF-8 without control characters, a token's `sub`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Uid(Box<str>);

impl Uid {
    /// Longest uid, bytes.
    pub const BYTES_MAX: usize = 64;

    /// Checks length and characters. `None`: empty, too long, or with control characters.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= Self::BYTES_MAX;
        (fits && !text.chars().any(char::is_control)).then(|| Self(text.into()))
    }

    /// The text as the token carries it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_channel_names_its_person_and_no_other_channel_does() {
        let user = UserNo::new(21);
        assert_eq!(ChannelNo::self_of(user).self_user(), Some(user));
        assert_eq!(ChannelNo::new(42).self_user(), None);
    }

    #[test]
    fn a_key_keeps_its_time_and_sorts_by_it() {
        let early = Key::new(1_767_225_600_000, [0xff; 10]);
        let late = Key::new(1_767_225_600_001, [0; 10]);
        assert_eq!(early.unix_ms(), 1_767_225_600_000);
        assert!(early < late);
        assert_eq!(Key::parse(early.as_bytes()), Some(early));
    }

    #[test]
    fn what_is_not_a_uuid_v7_is_no_key() {
        for foreign in [&[][..], &[0; 16], &[0x7f; 15], &[0xff; 16]] {
            assert_eq!(Key::parse(foreign), None, "{foreign:?}");
        }
    }

    #[test]
    fn a_uid_is_short_printable_text() {
        for good in ["a", "민수", "auth0|5f7c", &"x".repeat(64)] {
            assert!(Uid::parse(good).is_some(), "{good:?}");
        }
        for bad in ["", "a\nb", "\u{7f}", &"x".repeat(65)] {
            assert!(Uid::parse(bad).is_none(), "{bad:?}");
        }
    }
}
