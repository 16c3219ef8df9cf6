//! Whether work goes into the next run: rights, then the key, then whatever it must keep to begin,
//! and the rate last: what is refused for another reason is not counted.

use std::time::Duration;

use damso_proto::id::{MessageId, Seq};
use damso_proto::time::Moment;

use super::keys::{KeyWindow, Known};
use super::mail::{Refusal, Submission};
use super::rate::{Admission, Inflow};
use super::roster::Roster;
use super::stage::{Admitted, Told, duplicate_of, row_key};
use crate::model::draft::Invalid;
use crate::model::limits;
use crate::store::directory::OutboxRow;
use crate::store::log::KeyRow;

/// A channel, as far as it decides what may be sent in it.
pub(super) struct Bar<'a> {
    pub(super) roster: &'a Roster,
    pub(super) keys: &'a mut KeyWindow,
    pub(super) inflow: &'a mut Inflow,
    /// The committed head: nobody has seen anything above it.
    pub(super) head: Seq,
    pub(super) now: Moment,
    /// The time of day, milliseconds since 1970.
    pub(super) now_ms: u64,
}

/// Decides a message, and answers its sender where it does not leave.
pub(super) fn event(submission: &Submission, bar: Bar<'_>, told: &mut Vec<Told>) -> Admitted {
    let Submission { by, event, key, route, deadline, admission, .. } = submission;
    let outcome = match bar.roster.writer(*by) {
        Err(denied) => Err(Refusal::of_denied(denied)),
        // The key before deadline and rate: a repetition begins nothing, so it is never too late,
        // and never one too many.
        Ok(writer) => match bar.keys.ask(key, Some(*route)) {
            Known::Fresh if deadline.is_past(bar.now) => Err(Refusal::Deadline),
            Known::Fresh if writer.is_blocked => Err(Refusal::Blocked),
            Known::Fresh if writer.muted_until_ms > bar.now_ms => {
                let after = Duration::from_millis(writer.muted_until_ms - bar.now_ms);
                Err(Refusal::Muted { after })
            }
            Known::Fresh if !may_answer(Seq::new(event.reply_to), writer.from, bar.head) => {
                Err(Invalid::Value { field: "reply_to" }.into())
            }
            Known::Fresh if *admission == Admission::NoRoom => {
                metrics::counter!("damso_memory_refused_total", "what" => "message").increment(1);
                Err(Refusal::Overloaded { after: limits::MEMORY_RETRY })
            }
            Known::Fresh => match bar.inflow.admit(*admission, bar.now) {
                Ok(()) => return Admitted::Yes,
                Err((whose, after)) => Err(Refusal::TooOften { whose, after }),
            },
            Known::AskStore => return Admitted::Later,
            Known::Joined => return Admitted::Answered,
            Known::Stored(row) => Ok(duplicate_of(&row)),
            Known::Reused => Err(Refusal::KeyReused),
            Known::Crowded => Err(Refusal::Overloaded { after: limits::OVERLOADED_RETRY }),
        },
    };
    told.push(Told::Answer(*route, outcome));
    Admitted::Answered
}

/// Whether a message of somebody who sees the channel from `from` on may answer `seq`: something
/// that is there and theirs to see, or nothing at all.
fn may_answer(seq: Seq, from: Seq, head: Seq) -> bool {
    seq == Seq::ZERO || (from..=head).contains(&seq)
}

/// Decides a row: the directory owes it, so only its key is asked for.
pub(super) fn row(row: &OutboxRow, keys: &mut KeyWindow) -> Admitted {
    match keys.ask(&row_key(row), None) {
        Known::Fresh => Admitted::Yes,
        // A row's first copy is in this very run; the second hears of it afterwards.
        Known::AskStore | Known::Joined => Admitted::Later,
        Known::Stored(stored) => Admitted::Known(stored),
        // Rows have no bodies to differ in, and no routes that could be too many.
        Known::Reused | Known::Crowded => {
            Admitted::Known(KeyRow { key: row_key(row), seq: row.at, id: MessageId::default() })
        }
    }
}
