//! A change of rights from the directory's transaction until every shard knows it.
//!
//! ```text
//! transaction writes rows -> row of this channel: event, then every shard says Applied
//!                         -> rows of people's own logs: their owners say RowStored
//!                         -> all done: rows go from the directory, the command is answered
//! ```
//!
//! A command is decided before its event has a place, for the seq that comes next. Another
//! owner's event may take that one: then the directory is told where the event really stands,
//! in the transaction that forgets the rows, and so is whoever waits for the command.
//!
//! A row whose shards have not all answered stays in the directory's outbox, and is
//! taken up again when the channel is opened next.

use damso_proto::id::Seq;

use super::mail::{Answer, Outcome, Refusal};
use crate::runtime::route::Route;
use crate::store::directory::{Moved, OutboxId};

/// What is finished, for the caller to carry out.
#[derive(Default, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    /// Rows that the directory may forget.
    pub(super) rows: Vec<OutboxId>,
    /// Events that stand elsewhere than the directory was promised.
    pub(super) moved: Vec<Moved>,
    /// Who is answered, and what.
    pub(super) answers: Vec<(Route, Outcome)>,
}

/// All changes of one channel that some shard may not know yet.
#[derive(Default)]
pub(super) struct Settling {
    batches: Vec<Batch>,
    /// Events with a change, and how many shards have not applied them.
    applying: Vec<(Seq, OutboxId, usize)>,
}

/// What one command waits for.
struct Batch {
    /// The answer.
    seq: Seq,
    /// Rows to be forgotten then. A command that changed nothing, and only waits along, has none.
    rows: Vec<OutboxId>,
    /// Rows, of whichever command, that are not known everywhere.
    open: Vec<OutboxId>,
    moved: Vec<Moved>,
    failed: bool,
    routes: Vec<Route>,
}

impl Settling {
    /// These rows came from one command, told at `seq`.
    pub(super) fn begin(&mut self, seq: Seq, rows: Vec<OutboxId>, route: Option<Route>) {
        let (open, moved, routes) = (rows.clone(), Vec::new(), Vec::from_iter(route));
        self.batches.push(Batch { seq, rows, open, moved, failed: false, routes });
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

    /// Answers `route` with its own `seq` once all has settled that settles now: among it is the
    /// command that left this one nothing to change, or its first copy. `false`: nothing does.
    pub(super) fn join(&mut self, seq: Seq, route: Route) -> bool {
        let owners = self.batches.iter().filter(|batch| !batch.rows.is_empty());
        let open: Vec<OutboxId> = owners.flat_map(|batch| &batch.open).copied().collect();
        if open.is_empty() {
            return false;
        }
        let (rows, moved, routes) = (Vec::new(), Vec::new(), vec![route]);
        self.batches.push(Batch { seq, rows, open, moved, failed: false, routes });
        true
    }

    /// The row's event stands in its log, elsewhere than the directory was promised.
    pub(super) fn moved(&mut self, row: OutboxId, moved: Moved) {
        let owners = self.batches.iter_mut().filter(|batch| batch.rows.contains(&row));
        for batch in owners {
            batch.seq = moved.to;
            batch.moved.push(moved);
        }
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
    pub(super) fn applied(&mut self, seq: Seq) -> Settled {
        let Some(index) = self.applying.iter().position(|(at, ..)| *at == seq) else {
            return Settled::default();
        };
        let (_, row, left) = &mut self.applying[index];
        *left = left.saturating_sub(1);
        if *left > 0 {
            return Settled::default();
        }
        let row = *row;
        self.applying.swap_remove(index);
        self.row_done(row, true)
    }

    /// A row stands in its log (`stored`), or cannot be brought there for now.
    pub(super) fn row_done(&mut self, row: OutboxId, stored: bool) -> Settled {
        let mut settled = Settled::default();
        for batch in self.batches.extract_if(.., |batch| batch.close(row, stored)) {
            let Batch { seq, rows, moved, failed, routes, .. } = batch;
            let outcome = if failed { Err(Refusal::OutcomeUnknown) } else { Ok(Answer::Done(seq)) };
            settled.rows.extend(rows);
            settled.moved.extend(moved);
            settled.answers.extend(routes.into_iter().map(|route| (route, outcome.clone())));
        }
        // Changes are rare, and channels that wait for the next one many.
        if self.batches.is_empty() {
            self.batches = Vec::new();
        }
        if self.applying.is_empty() {
            self.applying = Vec::new();
        }
        settled
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

impl Batch {
    /// A row stands in its log, or cannot be brought there. Returns whether that was the last one.
    fn close(&mut self, row: OutboxId, stored: bool) -> bool {
        if !self.open.contains(&row) {
            return false;
        }
        self.open.retain(|open| *open != row);
        if !stored {
            self.failed = true;
            self.rows.retain(|kept| *kept != row);
        }
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use damso_proto::id::{ChannelNo, RequestId};

    use super::*;
    use crate::runtime::route::{ConnectionId, ShardNo};

    const fn row(number: u64) -> OutboxId {
        OutboxId(number)
    }

    const fn route(request: u64) -> Route {
        let connection = ConnectionId { slot: 0, generation: 0 };
        Route { shard: ShardNo::new(0), connection, request: RequestId::new(request) }
    }

    fn done(answers: &[(u64, u64)]) -> Vec<(Route, Outcome)> {
        let answers = answers.iter();
        answers.map(|(request, seq)| (route(*request), Ok(Answer::Done(Seq::new(*seq))))).collect()
    }

    #[test]
    fn a_command_is_answered_after_every_shard_and_every_own_log() {
        let mut settling = Settling::default();
        settling.begin(Seq::new(4), vec![row(1), row(2)], Some(route(7)));
        settling.applying(Seq::new(4), row(1), 2);
        assert_eq!(settling.applied(Seq::new(4)), Settled::default());
        assert_eq!(settling.row_done(row(2), true), Settled::default());
        let settled = settling.applied(Seq::new(4));
        assert_eq!(
            settled,
            Settled { rows: vec![row(1), row(2)], answers: done(&[(7, 4)]), ..Settled::default() }
        );
        assert!(settling.is_empty());
    }

    #[test]
    fn who_waits_along_hears_their_own_seq_after_all_that_settled_then() {
        let mut settling = Settling::default();
        assert!(!settling.join(Seq::ZERO, route(1)), "nothing settles");
        settling.begin(Seq::new(4), vec![row(1), row(2)], Some(route(2)));
        settling.begin(Seq::new(5), vec![row(3)], Some(route(3)));
        for (request, seq) in [(4, 0), (5, 4), (6, 0)] {
            assert!(settling.join(Seq::new(seq), route(request)));
        }
        settling.begin(Seq::new(6), vec![row(4)], Some(route(7)));
        assert_eq!(settling.row_done(row(1), true), Settled::default());
        let later = settling.row_done(row(3), true);
        assert_eq!(
            later,
            Settled { rows: vec![row(3)], answers: done(&[(3, 5)]), ..Settled::default() }
        );
        let settled = settling.row_done(row(2), true);
        let answers = done(&[(2, 4), (4, 0), (5, 4), (6, 0)]);
        assert_eq!(settled, Settled { rows: vec![row(1), row(2)], answers, ..Settled::default() });
        assert_eq!(settling.row_done(row(4), true).answers, done(&[(7, 6)]));
        assert!(settling.is_empty());
    }

    #[test]
    fn rows_that_are_known_already_settle_once() {
        let mut settling = Settling::default();
        settling.begin(Seq::new(1), vec![row(1)], None);
        assert!(settling.extend(row(1), &[row(2)], None));
        assert!(!settling.extend(row(9), &[row(3)], None));
        assert_eq!(settling.row_done(row(1), true), Settled::default());
        assert_eq!(settling.row_done(row(2), true).rows, vec![row(1), row(2)]);
    }

    #[test]
    fn a_row_that_could_not_be_stored_stays_and_the_outcome_is_unknown() {
        let mut settling = Settling::default();
        settling.begin(Seq::new(4), vec![row(1), row(2)], Some(route(7)));
        assert!(settling.join(Seq::ZERO, route(8)));
        assert_eq!(settling.row_done(row(2), false), Settled::default());
        let settled = settling.row_done(row(1), true);
        assert_eq!(settled.rows, vec![row(1)]);
        let unknown = [7, 8].map(|request| (route(request), Err(Refusal::OutcomeUnknown)));
        assert_eq!(settled.answers, unknown);
    }

    #[test]
    fn whoever_waits_hears_where_the_event_stands_and_so_does_the_directory() {
        let mut settling = Settling::default();
        settling.begin(Seq::new(4), vec![row(1)], Some(route(7)));
        let (channel, from, to) = (ChannelNo::new(2), Seq::new(4), Seq::new(6));
        settling.moved(row(1), Moved { channel, from, to });
        let settled = settling.row_done(row(1), true);
        assert_eq!(settled.answers, done(&[(7, 6)]));
        assert_eq!(settled.moved, [Moved { channel, from, to }]);
    }
}
