//! Numbers that say why: of refusals, and of closes. The range of a number says what to do.
//!
//! ```text
//! refusals                                   closes
//! 100-199  never as it stands                1100-1199  reconnect now
//! 200-299  later, after a pause              1200-1299  reconnect later
//! 300-399  again, with the same key          1300-1399  reconnect at the address given
//! 400-499  after a new login                 1400-1499  log in again
//! 500-599  after an update of the client     1500-1599  stop
//! other    never as it stands                other      reconnect later
//! ```
//!
//! So that a client knows what to do about a number younger than itself.

use std::fmt;

macro_rules! codes {
    ($(#[$doc:meta])* $code:ident means $means:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $number:literal, $name:literal;)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum $code {
            $($(#[$variant_doc])* $variant = $number,)+
        }

        impl $code {
            /// Every code, by rising number.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The code of a number. `None`: made after this library; its range still speaks.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// As it stands on the wire.
            pub const fn number(self) -> u32 {
                self as u32
            }

            /// Stable name for logs and metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What its range says.
            pub const fn means(self) -> $means {
                $means::of_number(self.number())
            }
        }

        impl fmt::Display for $code {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

codes! {
    /// Why a request was not carried out.
    Code means Retry {
        /// The request contradicts itself.
        Malformed = 100, "malformed";
        /// A kind of request that this server does not know.
        UnknownRequest = 101, "unknown_request";
        /// Absent, or not the caller's to see: the two look the same on purpose.
        NotFound = 102, "not_found";
        /// A field has a value that it may not have.
        Invalid = 103, "invalid";
        /// A text, a body or a list is longer than Welcome allows.
        TooLarge = 104, "too_large";
        /// The request changes something but carries no valid key.
        KeyMissing = 105, "key_missing";
        /// The key was used for something else.
        KeyReused = 106, "key_reused";
        /// The key is older than the dedupe window: whether it was carried out is asked otherwise.
        KeyExpired = 107, "key_expired";
        /// The key's time is ahead of the server's: correct the clock by Welcome's.
        KeyInFuture = 108, "key_in_future";
        /// There are already as many as there may be.
        LimitReached = 109, "limit_reached";
        /// The request's own deadline passed before it was begun.
        Deadline = 110, "deadline";
        /// The caller is in the channel, but it or their role does not allow this.
        NotAllowed = 111, "not_allowed";
        /// The caller may write nothing in this channel for a while.
        Muted = 112, "muted";
        /// A person who was to be added is kept out of the channel.
        Banned = 113, "banned";
        /// One of two people blocks the other: they do not write to each other, and one who is
        /// blocked does not add the other.
        Blocked = 114, "blocked";
        /// The server has too much to do.
        Overloaded = 200, "overloaded";
        /// The caller asks too often.
        RateLimited = 201, "rate_limited";
        /// A part of the server is not there just now.
        Unavailable = 202, "unavailable";
        /// The server is about to stop.
        Draining = 203, "draining";
        /// It may have been carried out: only the same key finds out.
        OutcomeUnknown = 300, "outcome_unknown";
        /// The token does not count here, or no longer.
        TokenInvalid = 400, "token_invalid";
        /// The token's time is over.
        TokenExpired = 401, "token_expired";
        /// The client's version cannot ask this.
        Version = 500, "version";
    }
}

codes! {
    /// Why a connection ends.
    CloseCode means Next {
        /// The server heard nothing for the idle limit.
        Idle = 1100, "idle";
        /// The client took nothing in for too long.
        Slow = 1101, "slow";
        /// The server stops or restarts.
        GoingAway = 1200, "going_away";
        /// The server has too much to do.
        Overloaded = 1201, "overloaded";
        /// A fault of the server's.
        Internal = 1202, "internal";
        /// Hello, or the last Resume behind it, did not come in time.
        LoginLate = 1203, "login_late";
        /// The person has as many connections as there may be.
        TooManyConnections = 1204, "too_many_connections";
        /// An operator ended the connection: nothing is held against the client.
        Disconnected = 1205, "disconnected";
        /// The token does not count here, or no longer.
        TokenInvalid = 1400, "token_invalid";
        /// The token's time is over.
        TokenExpired = 1401, "token_expired";
        /// The device does not present the proof that it once did.
        DeviceUnproven = 1402, "device_unproven";
        /// Bytes that are no frame, or a frame where it may not stand.
        Malformed = 1500, "malformed";
        /// A frame longer than allowed.
        FrameTooLarge = 1501, "frame_too_large";
        /// No version in common.
        Version = 1502, "version";
        /// Replaced by another connection of the same device, or sent away.
        Kicked = 1503, "kicked";
        /// The person has as many devices as there may be.
        TooManyDevices = 1504, "too_many_devices";
    }
}

/// Whether repeating a refused request makes sense.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Retry {
    /// Not as it stands.
    Never,
    /// After `retry_after_ms`, or else after a growing, random pause; with the same key.
    Later,
    /// Soon, and only with the same key: it may have been carried out.
    SameKey,
    /// After logging in with a new token.
    LogIn,
    /// With a newer client.
    Upgrade,
}

impl Retry {
    /// What the range of any refusal's number says.
    pub const fn of_number(number: u32) -> Self {
        match number {
            200..300 => Self::Later,
            300..400 => Self::SameKey,
            400..500 => Self::LogIn,
            500..600 => Self::Upgrade,
            _ => Self::Never,
        }
    }
}

/// What to do after a close.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Next {
    /// At once, the first time.
    ReconnectNow,
    /// After `retry_after_ms` and a random part of the same size.
    ReconnectLater,
    /// At the address that the close names.
    ReconnectAt,
    /// With a new token.
    LogIn,
    /// Not without a person's or a developer's doing.
    Stop,
}

impl Next {
    /// What the range of any close's number says.
    pub const fn of_number(number: u32) -> Self {
        match number {
            1100..1200 => Self::ReconnectNow,
            1300..1400 => Self::ReconnectAt,
            1400..1500 => Self::LogIn,
            1500..1600 => Self::Stop,
            _ => Self::ReconnectLater,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_number_names_one_code_and_comes_back() {
        for code in Code::ALL {
            assert_eq!(Code::from_number(code.number()), Some(*code));
        }
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_number(code.number()), Some(*code));
        }
        assert!(Code::ALL.is_sorted_by_key(|code| code.number()));
        assert!(CloseCode::ALL.is_sorted_by_key(|code| code.number()));
    }

    #[test]
    fn names_are_one_to_a_code() {
        let names: HashSet<_> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        let names: HashSet<_> = CloseCode::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), CloseCode::ALL.len());
    }

    #[test]
    fn a_number_younger_than_the_client_still_says_what_to_do() {
        let refusals = [
            (0, Retry::Never),
            (199, Retry::Never),
            (299, Retry::Later),
            (399, Retry::SameKey),
            (499, Retry::LogIn),
            (599, Retry::Upgrade),
            (u32::MAX, Retry::Never),
        ];
        for (number, expected) in refusals {
            assert_eq!(Code::from_number(number), None);
            assert_eq!(Retry::of_number(number), expected, "{number}");
        }
        let closes = [
            (0, Next::ReconnectLater),
            (1199, Next::ReconnectNow),
            (1299, Next::ReconnectLater),
            (1399, Next::ReconnectAt),
            (1499, Next::LogIn),
            (1599, Next::Stop),
        ];
        for (number, expected) in closes {
            assert_eq!(CloseCode::from_number(number), None);
            assert_eq!(Next::of_number(number), expected, "{number}");
        }
    }

    #[test]
    fn only_an_unknown_outcome_binds_a_retry_to_its_key() {
        for code in Code::ALL {
            assert_eq!(code.means() == Retry::SameKey, *code == Code::OutcomeUnknown, "{code}");
        }
    }
}
