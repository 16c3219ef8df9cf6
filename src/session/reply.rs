//! Answers and refusals as frames: the one place where wire codes are made.

use std::time::Duration;

use bytes::Bytes;
use damso_proto::code::{CloseCode, Code};
use damso_proto::frame::encode_server;
use damso_proto::id::RequestId;
use damso_proto::wire;
use damso_proto::wire::server_frame::Kind;

use crate::delivery::{self, Answer, Pace};
use crate::model::draft::Invalid;
use crate::requests::Refusal;

/// A frame that answers `request`.
pub(super) fn answer(request: RequestId, kind: Kind) -> Bytes {
    encode_server(&wire::ServerFrame { kind: Some(kind), id: request.get(), more: false })
}

/// A frame that answers nothing.
pub(super) fn unasked(kind: Kind) -> Bytes {
    encode_server(&wire::ServerFrame { kind: Some(kind), id: 0, more: false })
}

/// The frame that ends a connection.
pub fn closing(code: CloseCode, after: Duration, text: &str) -> Bytes {
    unasked(Kind::Closing(wire::Closing {
        code: code.number(),
        retry_after_ms: millis(after),
        address: String::new(),
        text: text.to_owned(),
    }))
}

/// A token that does not let its bearer stay.
pub(super) fn token(code: Code, after: Duration, text: String) -> Kind {
    frame(code, "token", after, text)
}

/// A delivered outcome.
pub(super) fn outcome(answer: Answer) -> Kind {
    match answer {
        Answer::Sent { seq, id, duplicate, queued, committed } => Kind::Ack(wire::Ack {
            seq: seq.get(),
            id: id.get(),
            duplicate,
            queue_us: micros(queued),
            commit_us: micros(committed),
        }),
        Answer::Done(seq) => Kind::Done(wire::Done { seq: seq.get() }),
    }
}

/// A refusal by a handler, or by a floor below it.
pub(super) fn refusal(refusal: &Refusal) -> Kind {
    let (code, field, after) = match refusal {
        Refusal::Invalid(invalid) => (code_of(*invalid), invalid.field(), Duration::ZERO),
        Refusal::KeyMissing => (Code::KeyMissing, "key", Duration::ZERO),
        Refusal::KeyExpired => (Code::KeyExpired, "key", Duration::ZERO),
        Refusal::KeyInFuture => (Code::KeyInFuture, "key", Duration::ZERO),
        Refusal::Unknown => (Code::UnknownRequest, "", Duration::ZERO),
        Refusal::Directory(_) | Refusal::Store(_) => {
            (Code::Unavailable, "", crate::model::limits::UNAVAILABLE_RETRY)
        }
        Refusal::Delivery(refusal) => return delivered(refusal),
    };
    frame(code, field, after, text_of(refusal))
}

/// A refusal by delivery alone.
pub(super) fn delivered(refusal: &delivery::Refusal) -> Kind {
    let (code, field, after) = match refusal {
        delivery::Refusal::NotFound => (Code::NotFound, "", Duration::ZERO),
        delivery::Refusal::NotAllowed => (Code::NotAllowed, "", Duration::ZERO),
        delivery::Refusal::Muted { after } => (Code::Muted, "", *after),
        delivery::Refusal::Banned => (Code::Banned, "uids", Duration::ZERO),
        delivery::Refusal::KeyReused => (Code::KeyReused, "", Duration::ZERO),
        delivery::Refusal::Invalid(invalid) => (code_of(*invalid), invalid.field(), Duration::ZERO),
        delivery::Refusal::Limit(_) => (Code::LimitReached, "", Duration::ZERO),
        delivery::Refusal::Deadline => (Code::Deadline, "deadline_ms", Duration::ZERO),
        delivery::Refusal::TooOften { whose: Pace::Person, after } => {
            (Code::RateLimited, "", *after)
        }
        delivery::Refusal::TooOften { whose: Pace::Channel, after } => {
            (Code::RateLimited, "channel", *after)
        }
        delivery::Refusal::Overloaded { after } => (Code::Overloaded, "", *after),
        delivery::Refusal::Unavailable { after } => (Code::Unavailable, "", *after),
        delivery::Refusal::OutcomeUnknown => (Code::OutcomeUnknown, "", Duration::ZERO),
    };
    frame(code, field, after, refusal.to_string())
}

const fn code_of(invalid: Invalid) -> Code {
    match invalid {
        Invalid::TooLarge { .. } => Code::TooLarge,
        Invalid::Missing { .. } | Invalid::Value { .. } => Code::Invalid,
    }
}

fn frame(code: Code, field: &str, after: Duration, text: String) -> Kind {
    Kind::Refusal(wire::Refusal {
        code: code.number(),
        retry_after_ms: millis(after),
        field: field.to_owned(),
        text,
        trace: String::new(),
    })
}

/// What a stranger may read: the stores' own words stay in the log.
fn text_of(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Directory(_) | Refusal::Store(_) => "the stores cannot answer now".to_owned(),
        refusal => refusal.to_string(),
    }
}

/// Rounded up: whoever waits as long as they are told must not be too early.
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros().div_ceil(1_000)).unwrap_or(u32::MAX)
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
