//! What whoever asked is told of a refusal: the stable code, the field at fault, when to come back.
//! Sessions and the API write the same down, each in its own form.

use std::borrow::Cow;
use std::time::Duration;

use damso_proto::code::Code;

use super::refusal::Refusal;
use crate::delivery::{self, Pace};
use crate::model::draft::Invalid;
use crate::model::limits;

/// See the module's text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// Why; its range says whether a repetition makes sense.
    pub code: Code,
    /// The field at fault; empty: none.
    pub field: Cow<'static, str>,
    /// Come back after this long; zero: whenever.
    pub after: Duration,
    /// For people. The stores' own words stay in the log.
    pub text: String,
}

impl From<&Refusal> for Told {
    fn from(refusal: &Refusal) -> Self {
        let (code, field, after) = match refusal {
            Refusal::Invalid(invalid) => (code_of(*invalid), invalid.field(), Duration::ZERO),
            Refusal::KeyMissing => (Code::KeyMissing, "key", Duration::ZERO),
            Refusal::KeyExpired => (Code::KeyExpired, "key", Duration::ZERO),
            Refusal::KeyInFuture => (Code::KeyInFuture, "key", Duration::ZERO),
            Refusal::Blocked { at } => {
                let (field, text) = (format!("uids[{at}]").into(), refusal.to_string());
                return Self { code: Code::Blocked, field, after: Duration::ZERO, text };
            }
            Refusal::Unknown => (Code::UnknownRequest, "", Duration::ZERO),
            Refusal::Directory(_) | Refusal::Store(_) => {
                let text = "the stores cannot answer now".to_owned();
                let (code, after) = (Code::Unavailable, limits::UNAVAILABLE_RETRY);
                return Self { code, field: "".into(), after, text };
            }
            Refusal::Delivery(refusal) => return refusal.into(),
        };
        Self { code, field: field.into(), after, text: refusal.to_string() }
    }
}

impl From<&delivery::Refusal> for Told {
    fn from(refusal: &delivery::Refusal) -> Self {
        use delivery::Refusal;
        let (code, field, after) = match refusal {
            Refusal::NotFound => (Code::NotFound, "", Duration::ZERO),
            Refusal::NotAllowed => (Code::NotAllowed, "", Duration::ZERO),
            Refusal::Muted { after } => (Code::Muted, "", *after),
            Refusal::Banned => (Code::Banned, "uids", Duration::ZERO),
            Refusal::Blocked => (Code::Blocked, "", Duration::ZERO),
            Refusal::BlockedBy(_) => (Code::Blocked, "uids", Duration::ZERO),
            Refusal::KeyReused => (Code::KeyReused, "", Duration::ZERO),
            Refusal::Invalid(invalid) => (code_of(*invalid), invalid.field(), Duration::ZERO),
            Refusal::Limit(_) => (Code::LimitReached, "", Duration::ZERO),
            Refusal::Deadline => (Code::Deadline, "deadline_ms", Duration::ZERO),
            Refusal::TooOften { whose: Pace::Person, after } => (Code::RateLimited, "", *after),
            Refusal::TooOften { whose: Pace::Channel, after } => {
                (Code::RateLimited, "channel", *after)
            }
            Refusal::Overloaded { after } => (Code::Overloaded, "", *after),
            Refusal::Unavailable { after } => (Code::Unavailable, "", *after),
            Refusal::OutcomeUnknown => (Code::OutcomeUnknown, "", Duration::ZERO),
        };
        Self { code, field: field.into(), after, text: refusal.to_string() }
    }
}

const fn code_of(invalid: Invalid) -> Code {
    match invalid {
        Invalid::TooLarge { .. } => Code::TooLarge,
        Invalid::Missing { .. } | Invalid::Value { .. } => Code::Invalid,
    }
}
