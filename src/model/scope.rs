//! What a backend's key is good for.

use std::fmt;

/// One kind of thing that a backend may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Scope {
    /// Make people, note on them, give them tokens, end those and their devices, and say whom
    /// they block.
    Users = 1,
    /// Make channels, name and note on them, and say who is in them, who writes, and who is kept out.
    Channels = 1 << 1,
    /// Send.
    Messages = 1 << 2,
    /// Read people, channels, members and history.
    Read = 1 << 3,
    /// How much the server has to do.
    Stats = 1 << 4,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 5] =
        [Self::Users, Self::Channels, Self::Messages, Self::Read, Self::Stats];

    /// Its name, stable.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Channels => "channels",
            Self::Messages => "messages",
            Self::Read => "read",
            Self::Stats => "stats",
        }
    }
}

/// Some of them. `all` stays all of them, those that are not yet made included.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct Scopes(u8);

impl Scopes {
    /// Every one.
    pub const ALL: Self = Self(u8::MAX);
    const ALL_NAME: &'static str = "all";

    /// Reads names.
    ///
    /// # Errors
    /// The first name that is none, and those there are.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, UnknownScope> {
        names.into_iter().try_fold(Self::default(), |scopes, name| {
            if name == Self::ALL_NAME {
                return Ok(Self::ALL);
            }
            let scope = Scope::ALL.into_iter().find(|scope| scope.name() == name);
            let scope = scope.ok_or_else(|| UnknownScope(name.to_owned()))?;
            Ok(Self(scopes.0 | scope as u8))
        })
    }

    /// Whether this one is among them.
    pub const fn allow(self, scope: Scope) -> bool {
        self.0 & scope as u8 != 0
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Names with a comma between them, as they are stored.
impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str(Self::ALL_NAME);
        }
        let names = Scope::ALL.into_iter().filter(|scope| self.allow(*scope)).map(Scope::name);
        f.write_str(&names.collect::<Vec<_>>().join(","))
    }
}

/// A name that is no scope's.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error(
    "{0:?} is no scope: there are users, channels, messages, read, stats, and all of them: all"
)]
pub struct UnknownScope(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_and_others_are_refused() {
        for (names, shown) in [("read,users", "users,read"), ("all", "all"), ("stats", "stats")] {
            let scopes = Scopes::parse(names.split(',')).unwrap();
            assert_eq!(scopes.to_string(), shown);
            assert_eq!(Scopes::parse(shown.split(',')), Ok(scopes));
        }
        assert_eq!(Scopes::parse(["root"]), Err(UnknownScope("root".into())));
        assert!(Scopes::default().is_empty());
    }

    #[test]
    fn each_scope_allows_itself_alone_and_all_allows_each() {
        for scope in Scope::ALL {
            let one = Scopes::parse([scope.name()]).unwrap();
            for other in Scope::ALL {
                assert_eq!(one.allow(other), other == scope);
            }
            assert!(Scopes::ALL.allow(scope) && !Scopes::default().allow(scope));
        }
    }
}
