//! Answers and refusals as frames.

use std::time::Duration;

use bytes::Bytes;
use damso_proto::code::{CloseCode, Code};
use damso_proto::frame::encode_server;
use damso_proto::id::RequestId;
use damso_proto::wire;
use damso_proto::wire::server_frame::Kind;

use crate::delivery::Answer;
use crate::requests::Told;

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
    closing_to(code, after, text, "")
}

/// The same, with where to go next; empty: where it was.
pub(super) fn closing_to(code: CloseCode, after: Duration, text: &str, address: &str) -> Bytes {
    unasked(Kind::Closing(wire::Closing {
        code: code.number(),
        retry_after_ms: millis(after),
        address: address.to_owned(),
        text: text.to_owned(),
    }))
}

/// A token that does not let its bearer stay.
pub(super) fn token(code: Code, after: Duration, text: String) -> Kind {
    refusal(Told { code, field: "token".into(), after, text })
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
pub(super) fn refusal(told: impl Into<Told>) -> Kind {
    let Told { code, field, after, text } = told.into();
    Kind::Refusal(wire::Refusal {
        code: code.number(),
        retry_after_ms: millis(after),
        field: field.into_owned(),
        text,
        trace: String::new(),
    })
}

/// Rounded up: whoever waits as long as they are told must not be too early.
fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros().div_ceil(1_000)).unwrap_or(u32::MAX)
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}
