//! Whether work goes into the next run: rights, then the key, then whatever it must keep to begin.

use damso_proto::id::{MessageId, Seq, UserNo};
use damso_proto::time::Moment;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::keys::{KeyWindow, Known};
use super::mail::{Refusal, Submission};
use super::stage::{Admitted, Told, duplicate_of, row_key};
use crate::model::draft::Invalid;
use crate::model::limits;
use crate::model::rights::{self, Kind, Op, Role};
use crate::store::directory::OutboxRow;
use crate::store::log::KeyRow;

/// A person in a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Member {
    pub(super) role: Role,
    /// The first seq that they may see.
    pub(super) from: Seq,
}

/// Everybody in a channel.
pub(super) type Members = HashMap<UserNo, Member, FixedState>;

/// A channel, as far as it decides what may be sent in it.
pub(super) struct Bar<'a> {
    pub(super) kind: Kind,
    pub(super) members: &'a Members,
    pub(super) keys: &'a mut KeyWindow,
    /// The committed head: nobody has seen anything above it.
    pub(super) head: Seq,
    pub(super) now: Moment,
}

/// Decides a message, and answers its sender where it does not leave.
pub(super) fn event(submission: &Submission, bar: Bar<'_>, told: &mut Vec<Told>) -> Admitted {
    let Submission { event, key, route, deadline, .. } = submission;
    let member = bar.members.get(&UserNo::new(event.sender)).copied();
    let role = member.map(|member| member.role);
    let outcome = if rights::authorise(bar.kind, role, Op::Send).is_err() {
        Err(Refusal::NotFound)
    } else {
        // The key before the deadline: a repetition begins nothing, so it is never too late.
        match bar.keys.ask(key, Some(*route)) {
            Known::Fresh if deadline.is_past(bar.now) => Err(Refusal::Deadline),
            Known::Fresh if !may_answer(Seq::new(event.reply_to), member, bar.head) => {
                Err(Invalid::Value { field: "reply_to" }.into())
            }
            Known::Fresh => return Admitted::Yes,
            Known::AskStore => return Admitted::Later,
            Known::Joined => return Admitted::Answered,
            Known::Stored(row) => Ok(duplicate_of(&row)),
            Known::Reused => Err(Refusal::KeyReused),
            Known::Crowded => Err(Refusal::Overloaded { after: limits::OVERLOADED_RETRY }),
        }
    };
    told.push(Told::Answer(*route, outcome));
    Admitted::Answered
}

/// Whether a message of `member` may answer `seq`: something that is there and theirs to see, or
/// nothing at all.
fn may_answer(seq: Seq, member: Option<Member>, head: Seq) -> bool {
    seq == Seq::ZERO || member.is_some_and(|member| (member.from..=head).contains(&seq))
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
