//! A change of rights from the directory's transaction until every shard knows it.
//!
//! ```text
//! transaction writes rows -> row of this channel: event, then every shard says Applied
//!                         -> rows of people's own logs: their owners say RowStored
//!                         -> all done: rows go from the directory, the command is answered
//! ```
//!
//! A row whose shards have not all answered stays in the directory's outbox, and is
//! taken up again when the channel is opened next.

use damso_proto::id::Seq;

use super::mail::{Answer, Outcome, Refusal};
use crate::runtime::route::Route;
use crate::store::directory::OutboxId;

/// What is finished, for the caller to carry out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Settled {
    /// Rows that the directory may forget.
    pub(super) rows: Vec<OutboxId>,
    /// Who is answered, and what.
    pub(super) routes: Vec<Route>,
    /// The answer.
    pub(super) outcome: Outcome,
}

/// All changes of one channel that some shard may not know yet.
#[derive(Default)]
pub(super) struct Settling {
    batches: Vec<Batch>,
    /// Events with a change, and how many shards have not applied them.
    applying: Vec<(Seq, OutboxId, usize)>,
}

struct Batch {
    seq: Seq,
    rows: Vec<OutboxId>,
    open: Vec<OutboxId>,
    failed: bool,
    routes: Vec<Route>,
}

impl Settling {
    /// These rows came from one command, told at `seq`.
    pub(super) fn begin(&mut self, seq: Seq, rows: Vec<OutboxId>, route: Option<Route>) {
        let open = rows.clone();
        self.batches.push(Batch { seq, rows, open, failed: false, routes: Vec::from_iter(route) });
    }

    /// A command's further rows settle together with `known`, which settles already. `false`: it
    /// does not.
    pub(super) fn extend(
        &mut self,
        known: OutboxId,
        rows: &[OutboxId],
        route: Option<Route>,
    ) -> bool {
        let Some(batch) = self.batches.iter_mut().find(|batch| batch.open.contains(&known)) else {
            return false;
        };
        batch.rows.extend(rows);
        batch.open.extend(rows);
        batch.routes.extend(route);
        true
    }

    /// Answers `route` with what is settling now. `false`: nothing is.
    pub(super) fn join(&mut self, route: Route) -> bool {
        self.batches.last_mut().map(|batch| batch.routes.push(route)).is_some()
    }

    /// The row's event leaves for `seq`; each of `shards` has to apply it once it is durable.
    /// Noted before it leaves: a quick shard answers before this one has heard of the commit.
    pub(super) fn applying(&mut self, seq: Seq, row: OutboxId, shards: usize) {
        self.applying.push((seq, row, shards));
    }

    /// The event that was to stand at `seq` was not stored.
    pub(super) fn not_applying(&mut self, seq: Seq) {
        self.applying.retain(|(at, ..)| *at != seq);
    }

    /// One shard applied the change told at `seq`.
    pub(super) fn applied(&mut self, seq: Seq) -> Option<Settled> {
        let index = self.applying.iter().position(|(at, ..)| *at == seq)?;
        let (_, row, left) = self.applying.get_mut(index)?;
        *left = left.saturating_sub(1);
        let (row, left) = (*row, *left);
        if left > 0 {
            return None;
        }
        self.applying.swap_remove(index);
        self.row_done(row, true)
    }

    /// A row stands in its log (`stored`), or cannot be brought there for now.
    pub(super) fn row_done(&mut self, row: OutboxId, stored: bool) -> Option<Settled> {
        let index = self.batches.iter().position(|batch| batch.open.contains(&row))?;
        let batch = self.batches.get_mut(index)?;
        batch.open.retain(|open| *open != row);
        if !stored {
            batch.failed = true;
            batch.rows.retain(|kept| *kept != row);
        }
        if !batch.open.is_empty() {
            return None;
        }
        let Batch { seq, rows, failed, routes, .. } = self.batches.swap_remove(index);
        let outcome = if failed { Err(Refusal::OutcomeUnknown) } else { Ok(Answer::Done(seq)) };
        Some(Settled { rows, routes, outcome })
    }

    /// Nothing settles.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Everybody who waits, when the channel is given up.
    pub(super) fn abandon(&mut self) -> Vec<Route> {
        self.applying.clear();
        self.batches.drain(..).flat_map(|batch| batch.routes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn row(number: u64) -> OutboxId {
        OutboxId(number)
    }

    #[test]
    fn a_command_is_answered_after_every_shard_and_every_own_log() {
        let mut settling = Settling::default();
        settling.begin(Seq::new(4), vec![row(1), row(2)], None);
        settling.applying(Seq::new(4), row(1), 2);
        assert_eq!(settling.applied(Seq::new(4)), None);
        assert_eq!(settling.row_done(row(2), true), None);
        let settled = settling.applied(Seq::new(4)).expect("the last one");
        assert_eq!(settled.rows, vec![row(1), row(2)]);
        assert_eq!(settled.outcome, Ok(Answer::Done(Seq::new(4))));
        assert!(settling.is_empty());
    }

    #[test]
    fn rows_that_are_known_already_settle_once() {
        let mut settling = Settling::default();
        settling.begin(Seq::new(1), vec![row(1)], None);
        assert!(settling.extend(row(1), &[row(2)], None));
        assert!(!settling.extend(row(9), &[row(3)], None));
        assert_eq!(settling.row_done(row(1), true), None);
        let settled = settling.row_done(row(2), true).expect("both");
        assert_eq!(settled.rows, vec![row(1), row(2)]);
    }

    #[test]
    fn a_row_that_could_not_be_stored_stays_and_the_outcome_is_unknown() {
        let mut settling = Settling::default();
        settling.begin(Seq::new(4), vec![row(1), row(2)], None);
        assert_eq!(settling.row_done(row(2), false), None);
        let settled = settling.row_done(row(1), true).expect("the last one");
        assert_eq!(settled.rows, vec![row(1)]);
        assert_eq!(settled.outcome, Err(Refusal::OutcomeUnknown));
    }
}
