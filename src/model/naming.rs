//! What a backend calls a channel by, and what it notes on channels and people.

use std::collections::BTreeMap;

use super::draft::Invalid;
use super::limits;

/// A channel's name in the backend's own words (`order:1234`): unique, never changed, never reused
/// for another channel.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChannelKey(Box<str>);

impl ChannelKey {
    /// Checks length and characters.
    ///
    /// # Errors
    /// [`Invalid`]: empty, longer than 128 bytes, with control characters or a slash, or a number:
    /// where a channel is named, digits are the server's own number of it.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let field = "key";
        if text.is_empty() {
            return Err(Invalid::Missing { field });
        }
        let max = limits::CHANNEL_KEY_BYTES_MAX;
        if text.len() > max {
            return Err(Invalid::TooLarge { field, max });
        }
        let unfit = |c: char| c.is_control() || c == '/';
        if text.chars().any(unfit) || text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Invalid::Value { field });
        }
        Ok(Self(text.into()))
    }

    /// The key as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a backend notes on a channel or a person, for its own apps: names and texts.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct CustomMap(BTreeMap<String, String>);

impl CustomMap {
    /// Checks number and sizes.
    ///
    /// # Errors
    /// [`Invalid`]: more than 32 entries, a name that is empty, longer than 64 bytes or has control
    /// characters, or more than 4 KiB together.
    pub fn check(map: BTreeMap<String, String>) -> Result<Self, Invalid> {
        let field = "custom";
        if map.len() > limits::CUSTOM_MAP_ENTRIES_MAX {
            return Err(Invalid::TooLarge { field, max: limits::CUSTOM_MAP_ENTRIES_MAX });
        }
        let fits = |name: &String| {
            (1..=limits::CUSTOM_MAP_NAME_BYTES_MAX).contains(&name.len())
                && !name.chars().any(char::is_control)
        };
        if !map.keys().all(fits) {
            return Err(Invalid::Value { field });
        }
        let bytes: usize = map.iter().map(|(name, text)| name.len() + text.len()).sum();
        if bytes > limits::CUSTOM_MAP_BYTES_MAX {
            return Err(Invalid::TooLarge { field, max: limits::CUSTOM_MAP_BYTES_MAX });
        }
        Ok(Self(map))
    }

    /// The entries, by name.
    pub fn entries(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    /// The entries, to be given away.
    pub fn into_entries(self) -> BTreeMap<String, String> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_any_printable_text_that_is_no_number() {
        for good in ["order:1234", "점심", "7a", "a b", &"k".repeat(128)] {
            assert_eq!(ChannelKey::parse(good).map(|key| key.as_str().to_owned()), Ok(good.into()));
        }
        let field = "key";
        for (bad, fault) in [
            ("", Invalid::Missing { field }),
            (&*"k".repeat(129), Invalid::TooLarge { field, max: 128 }),
            ("1234", Invalid::Value { field }),
            ("a/b", Invalid::Value { field }),
            ("a\n", Invalid::Value { field }),
        ] {
            assert_eq!(ChannelKey::parse(bad), Err(fault), "{bad:?}");
        }
    }

    #[test]
    fn notes_are_few_and_short() {
        let map = |entries: &[(&str, usize)]| {
            let entries =
                entries.iter().map(|(name, size)| ((*name).to_owned(), "x".repeat(*size)));
            CustomMap::check(entries.collect())
        };
        assert!(map(&[("color", 7), ("avatar", 4_078)]).is_ok());
        let field = "custom";
        let too_large = Err(Invalid::TooLarge { field, max: 4_096 });
        assert_eq!(map(&[("color", 8), ("avatar", 4_078)]), too_large);
        for name in ["", "a\n", &"n".repeat(65)] {
            assert_eq!(map(&[(name, 1)]), Err(Invalid::Value { field }), "{name:?}");
        }
        let many = (0..33).map(|n| (n.to_string(), String::new())).collect();
        assert_eq!(CustomMap::check(many), Err(Invalid::TooLarge { field, max: 32 }));
    }
}
