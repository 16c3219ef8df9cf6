//! One channel: what waits, what is under way, and the next run.
//!
//! ```text
//!            found                      run leaves                durable
//! Opening ----------> Ready ------------------------> InFlight ----------> Ready
//!    ^                  | old keys        | command       | undone: conflict
//!    |                  v                 v               v
//!    |              LookingUp          Changing       Opening (events go back to the front)
//!    |                  | found           | rows          | undone: unknown
//!    |                  v                 v               v
//!    +----- given up  Ready     rows to the front      Resolving (open, then the *same* run again)
//! ```
//!
//! Nothing is ordered unless the stage is Ready, so at most one run is in flight, and
//! a command finds the channel at rest and keeps the sends behind it waiting.
//!
//! Where no event tells a change (a broadcast, a block), its row is not appended but *spread*: from
//! Ready to Spreading and back, once every shard has applied it. Nothing else is ordered meanwhile,
//! so what comes after the change meets it everywhere, whichever way the two have gone.

use std::collections::VecDeque;

use damso_proto::id::{ChannelNo, MessageId, Seq};
use damso_proto::time::Moment;
use damso_proto::wire;
use prost::Message as _;

use super::admit::{self, Bar};
use super::keys::{KeyWindow, Known};
use super::lateness::{self, Lateness};
use super::mail::{Answer, Found, Origin, Refusal, Rights, Submission, Work};
use super::rate::{Admission, Inflow};
use super::roster::Roster;
use super::settle::Settling;
use super::stage::{
    Admitted, Mint, RowOut, Spread, Stage, Step, Told, duplicate_of, row_key, tell_settled,
};
use crate::model::deadline::Deadline;
use crate::model::event::{EncodedEvent, Place};
use crate::model::limits;
use crate::model::rate::Rate;
use crate::model::rights::Actor;
use crate::runtime::route::{Route, ShardNo};
use crate::store::directory::{Moved, OutboxId, OutboxRow, Owed};
use crate::store::log::{Capabilities, KeyRow, NewEvent, NewKey, Run};

/// See the module's text.
pub(super) struct Channel {
    number: ChannelNo,
    /// This channel as the origin of rows.
    origin: Origin,
    /// How many shards have to apply a change of rights.
    shards: usize,
    pub(super) stage: Stage,
    pub(super) touched: Moment,
    roster: Roster,
    /// The committed head; a run in flight stands on it.
    head: Seq,
    last_id: MessageId,
    keys: KeyWindow,
    inflow: Inflow,
    waiting: VecDeque<Work>,
    /// How many of those its shard knows of.
    pub(super) counted: usize,
    lateness: Lateness,
    /// Rows inside the run in flight.
    rows_out: Vec<RowOut>,
    settling: Settling,
    /// The store refused: nothing is appended before this.
    paused_until: Moment,
}

impl Channel {
    /// A channel that is being opened.
    pub(super) fn opening(origin: Origin, shards: usize, rate: Rate, now: Moment) -> Self {
        Self {
            shards,
            number: origin.channel,
            origin,
            stage: Stage::Opening,
            touched: now,
            roster: Roster::default(),
            head: Seq::ZERO,
            last_id: MessageId::default(),
            keys: KeyWindow::new(Vec::new(), 0),
            inflow: Inflow::new(rate),
            waiting: VecDeque::new(),
            counted: 0,
            lateness: Lateness::default(),
            rows_out: Vec::new(),
            settling: Settling::default(),
            paused_until: Moment::default(),
        }
    }

    /// Takes work in, or says why not.
    pub(super) fn take(&mut self, work: Work, now: Moment, told: &mut Vec<Told>) {
        self.touched = now;
        self.look(now);
        let overload = matches!(work, Work::Event(_)) && self.lateness.is_overload(now);
        let refusal = if overload || self.waiting.len() >= limits::CHANNEL_WAITING_MAX {
            Refusal::Overloaded { after: limits::OVERLOADED_RETRY }
        } else if now < self.paused_until && matches!(work, Work::Event(_) | Work::Change(_)) {
            Refusal::Unavailable { after: limits::UNAVAILABLE_RETRY }
        } else {
            return self.waiting.push_back(work);
        };
        match work {
            Work::Row { row, settling } => {
                told.push(Told::RowStored(settling, row.id, false));
            }
            work => told.extend(work.route().map(|route| Told::Answer(route, Err(refusal)))),
        }
    }

    /// The stores were read: work may begin, pending rows first.
    pub(super) fn found(&mut self, found: Found, told: &mut Vec<Told>) {
        self.head = found.log.head.seq;
        // Events may have come to it of which this process has heard nothing.
        told.push(Told::Head(self.number, self.head));
        self.last_id = found.log.head.id;
        self.keys = KeyWindow::new(found.log.keys, found.log.keys_from_ms);
        self.roster = Roster::read(&found.row);
        self.stage = Stage::Ready;
        if self.settling.is_empty() && !found.row.pending.is_empty() {
            self.settle(found.row.pending, None, told);
        }
    }

    /// Rows of a command: own ones go to the front of the queue, the others to their owners.
    pub(super) fn settle(
        &mut self,
        rows: Vec<OutboxRow>,
        route: Option<Route>,
        told: &mut Vec<Told>,
    ) {
        let (own, others): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|row| row.channel == self.number);
        let ids = |rows: &[OutboxRow]| rows.iter().map(|row| row.id).collect::<Vec<_>>();
        // A channel that was opened for this command has found its own rows already.
        let found =
            own.first().is_some_and(|row| self.settling.extend(row.id, &ids(&others), route));
        if !found {
            let silent = own.iter().all(|row| row.owed.is_silent());
            let seq = if silent { self.head } else { self.head.next() };
            self.settling.begin(seq, [ids(&own), ids(&others)].concat(), route);
            for row in own.into_iter().rev() {
                self.waiting.push_front(Work::Row { row: Box::new(row), settling: self.origin });
            }
        }
        told.extend(others.into_iter().map(|row| Told::Row(Box::new(row), self.origin)));
    }

    /// Makes the next step. Call again until it says [`Step::Wait`] or the stage changed.
    pub(super) fn step(
        &mut self,
        (now, now_ms): (Moment, u64),
        capabilities: Capabilities,
        mint: &mut dyn Mint,
        told: &mut Vec<Told>,
    ) -> Step {
        if !matches!(self.stage, Stage::Ready) || now < self.paused_until {
            return Step::Wait;
        }
        loop {
            match self.waiting.front() {
                None => return Step::Wait,
                Some(Work::Row { row, .. }) if row.owed.is_silent() => {
                    if let Some(step) = self.spread() {
                        return step;
                    }
                }
                Some(Work::Event(_) | Work::Row { .. }) => {
                    if let Some(step) = self.gather((now, now_ms), capabilities, mint, told) {
                        self.stage = Stage::InFlight;
                        return step;
                    }
                    let old = self.old_keys();
                    if !old.is_empty() {
                        self.stage = Stage::LookingUp(old.clone());
                        return Step::LookUp(old);
                    }
                }
                Some(Work::Settle { .. }) => self.settle_next(told),
                Some(Work::Change(_)) => {
                    let Some(Work::Change(change)) = self.waiting.pop_front() else { continue };
                    if let Err(denied) = self.roster.may_change(&change) {
                        told.push(Told::Answer(change.route, Err(Refusal::of_denied(denied))));
                        continue;
                    }
                    self.stage = Stage::Changing(change);
                    return Step::Change(self.head.next());
                }
            }
        }
    }

    /// Takes a change of which no event tells from the front of the queue.
    fn spread(&mut self) -> Option<Step> {
        let Some(Work::Row { row, .. }) = self.waiting.pop_front() else { return None };
        let (row, change, at) = (row.id, row.owed.change()?.clone(), self.head.next());
        self.roster.apply(&change, at);
        self.stage = Stage::Spreading(Spread::new(row, self.shards));
        Some(Step::Spread(Rights { channel: self.number, row, at, change }))
    }

    fn settle_next(&mut self, told: &mut Vec<Told>) {
        match self.waiting.pop_front() {
            Some(Work::Settle { rows, route }) if !rows.is_empty() => {
                self.settle(rows, route, told);
            }
            Some(Work::Settle { route: Some(route), .. }) => {
                self.known_change(Seq::ZERO, route, told);
            }
            _ => {}
        }
    }

    /// The store answered for old keys.
    pub(super) fn looked_up(&mut self, found: Vec<KeyRow>) {
        if let Stage::LookingUp(asked) = std::mem::replace(&mut self.stage, Stage::Ready) {
            self.keys.looked_up(&asked, found);
        }
    }

    /// The run in flight is durable.
    pub(super) fn durable(
        &mut self,
        run: &Run,
        (now, now_ms): (Moment, u64),
        told: &mut Vec<Told>,
    ) {
        self.touched = now;
        for event in &run.events {
            self.head = self.head.max(event.seq);
            self.last_id = self.last_id.max(event.id);
            if let Some(key) = event.key {
                let row = KeyRow { key, seq: event.seq, id: event.id };
                let again = Ok(duplicate_of(&row));
                for route in self.keys.stored(row, now_ms) {
                    told.push(Told::Answer(route, again.clone()));
                }
            }
        }
        for out in std::mem::take(&mut self.rows_out) {
            self.stands(&out.row, out.seq);
            // With a change, every shard's word settles it.
            if out.row.owed.change().is_none() {
                told.push(Told::RowStored(out.settling, out.row.id, true));
            }
        }
        self.stage = Stage::Ready;
    }

    /// A command that changed nothing now: known, told at `seq`, or nothing had to change (zero).
    pub(super) fn known_change(&mut self, seq: Seq, route: Route, told: &mut Vec<Told>) {
        // What it would have changed may still be settling; then this one waits with it.
        if !self.settling.join(seq, route) {
            told.push(Told::Answer(route, Ok(Answer::Done(seq))));
        }
    }

    /// One shard applied a change that is being spread.
    pub(super) fn rights_applied(&mut self, row: OutboxId, by: ShardNo, told: &mut Vec<Told>) {
        if let Stage::Spreading(spread) = &mut self.stage
            && spread.applied(row, by)
        {
            self.stage = Stage::Ready;
            self.row_done(row, true, told);
        }
    }

    /// One shard applied the change told at `seq`.
    pub(super) fn applied(&mut self, seq: Seq, told: &mut Vec<Told>) {
        let settled = self.settling.applied(seq);
        tell_settled(settled, told);
    }

    /// A row of this channel's commands stands in its log, or cannot be brought there.
    pub(super) fn row_done(&mut self, row: OutboxId, stored: bool, told: &mut Vec<Told>) {
        let settled = self.settling.row_done(row, stored);
        tell_settled(settled, told);
    }

    /// The run was surely not stored, because another owner wrote: its events wait again, in front.
    pub(super) fn conflicted(&mut self, run: Run) {
        let mut rows: Vec<RowOut> = std::mem::take(&mut self.rows_out);
        for event in run.events.into_iter().rev() {
            if let Some(at) = rows.iter().position(|out| out.seq == event.seq) {
                let RowOut { seq, row, settling } = rows.swap_remove(at);
                self.settling.not_applying(seq);
                if let Some(key) = event.key {
                    self.keys.undone(&key);
                }
                self.waiting.push_front(Work::Row { row, settling });
                continue;
            }
            let (Some(key), Some(route)) = (event.key, event.route) else { continue };
            let Ok(body) = wire::Event::decode(event.encoded.event()) else { continue };
            for route in self.keys.undone(&key).into_iter().rev().chain([route]) {
                let (event, queued_at) = (body.clone(), event.queued_at);
                // Its run has left before: it was begun in time, and counted.
                let (deadline, admission) = (Deadline::NONE, Admission::Granted);
                let by = Actor::of_number(key.user);
                let again = Submission { by, event, key, route, queued_at, deadline, admission };
                self.waiting.push_front(Work::Event(again));
            }
        }
        self.stage = Stage::Opening;
    }

    /// The run is given up: everybody who waits for it hears `refusal`. Rows wait again.
    pub(super) fn refused(
        &mut self,
        run: Run,
        refusal: &Refusal,
        now: Moment,
        told: &mut Vec<Told>,
    ) {
        for event in &run.events {
            let waiters = event.key.map(|key| self.keys.undone(&key)).unwrap_or_default();
            for route in waiters.into_iter().chain(event.route) {
                told.push(Told::Answer(route, Err(refusal.clone())));
            }
        }
        for out in std::mem::take(&mut self.rows_out).into_iter().rev() {
            self.settling.not_applying(out.seq);
            self.waiting.push_front(Work::Row { row: out.row, settling: out.settling });
        }
        self.paused_until = now.plus(limits::UNAVAILABLE_RETRY);
        self.stage = Stage::Ready;
    }

    /// The channel cannot go on: everybody who waits hears `refusal`.
    pub(super) fn give_up(&mut self, refusal: &Refusal, told: &mut Vec<Told>) {
        match std::mem::replace(&mut self.stage, Stage::Ready) {
            Stage::Changing(change) => {
                told.push(Told::Answer(change.route, Err(refusal.clone())));
            }
            Stage::Resolving(run, _) => {
                self.refused(run, &Refusal::OutcomeUnknown, self.touched, told);
            }
            _ => {}
        }
        for work in std::mem::take(&mut self.waiting) {
            if let Work::Row { row, settling } = &work {
                told.push(Told::RowStored(*settling, row.id, false));
            }
            told.extend(work.route().map(|route| Told::Answer(route, Err(refusal.clone()))));
        }
        for route in self.settling.abandon() {
            told.push(Told::Answer(route, Err(Refusal::OutcomeUnknown)));
        }
    }

    /// How much waits.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Looks how long the oldest message has been waiting.
    pub(super) fn look(&mut self, now: Moment) {
        self.lateness.look(lateness::oldest(&self.waiting), now);
    }

    /// Nothing waits, is under way or settles.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Ready) && self.waiting.is_empty() && self.settling.is_empty()
    }

    /// Nothing can be done now: what an empty queue holds is let go of.
    pub(super) fn rest(&mut self) {
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }

    /// Takes what may leave together from the front of the queue. `None`: nothing may.
    fn gather(
        &mut self,
        (now, now_ms): (Moment, u64),
        capabilities: Capabilities,
        mint: &mut dyn Mint,
        told: &mut Vec<Told>,
    ) -> Option<Step> {
        let expected_head = self.head;
        let (mut events, mut bytes, mut last_id) = (Vec::new(), 0, self.last_id);
        while events.len() < capabilities.run_events_max && bytes < capabilities.run_bytes_max {
            let Some(admitted) = self.admit((now, now_ms), told) else { break };
            let seq = Seq::new(expected_head.get() + events.len() as u64).next();
            match admitted {
                Admitted::Later => break,
                Admitted::Answered => drop(self.waiting.pop_front()),
                // What stands in the log already comes before what does not.
                Admitted::Known(_) if !events.is_empty() => break,
                Admitted::Known(stored) => {
                    if let Some(run) = self.row_known(&stored, now, told) {
                        return Some(Step::Repeat(run));
                    }
                }
                Admitted::Yes => {
                    last_id = mint.mint_above(last_id);
                    let place = Place { channel: self.number, seq, id: last_id };
                    let Some(event) = self.place(place, now) else { break };
                    bytes += event.encoded.event().len();
                    events.push(event);
                }
            }
        }
        self.last_id = last_id;
        let run = Run { channel: self.number, expected_head, events };
        (!run.events.is_empty()).then_some(Step::Append(run))
    }

    /// Decides the work at the front. `None`: there is none that goes into a run.
    fn admit(&mut self, (now, now_ms): (Moment, u64), told: &mut Vec<Told>) -> Option<Admitted> {
        let Self { roster, keys, inflow, head, .. } = self;
        match self.waiting.front()? {
            Work::Event(submission) => {
                let bar = Bar { roster, keys, inflow, head: *head, now, now_ms };
                Some(admit::event(submission, bar, told))
            }
            Work::Row { row, .. } if row.owed.is_silent() => None,
            Work::Row { row, .. } => Some(admit::row(row, keys)),
            Work::Change(_) | Work::Settle { .. } => None,
        }
    }

    /// The row at the front stood in the log already. One that changes rights is told to every
    /// shard again: it may have become durable after its outcome was given up, while people are
    /// here who have heard nothing of it.
    fn row_known(&mut self, stored: &KeyRow, now: Moment, told: &mut Vec<Told>) -> Option<Run> {
        let Some(Work::Row { row, settling }) = self.waiting.pop_front() else { return None };
        let KeyRow { key, seq, id } = *stored;
        let Owed::Change(mut event, change) = row.owed.clone() else {
            told.push(Told::RowStored(settling, row.id, true));
            return None;
        };
        let place = Place { channel: self.number, seq, id };
        place.stamp(&mut event);
        self.settling.applying(seq, row.id, self.shards);
        self.rows_out.push(RowOut { seq, row, settling });
        let (encoded, key, change) = (EncodedEvent::new(&event), Some(key), Some(change));
        let (counted, route, queued_at) = (false, None, now);
        let event = NewEvent { seq, id, encoded, counted, key, route, change, queued_at };
        Some(Run { channel: self.number, expected_head: seq.prev(), events: vec![event] })
    }

    /// Notes where a command's event stands, if that is not where the directory was promised.
    fn stands(&mut self, row: &OutboxRow, seq: Seq) {
        if row.at != Seq::ZERO && row.at != seq {
            let moved = Moved { channel: self.number, from: row.at, to: seq };
            self.settling.moved(row.id, moved);
        }
    }

    /// Gives the work at the front its place.
    fn place(&mut self, place: Place, now: Moment) -> Option<NewEvent> {
        let (mut event, key, route, queued_at, change) = match self.waiting.pop_front()? {
            Work::Event(Submission { event, key, route, queued_at, .. }) => {
                (event, key, Some(route), queued_at, None)
            }
            Work::Row { row, settling } => {
                let (event, change) = (row.owed.event()?.clone(), row.owed.change().cloned());
                let key = row_key(&row);
                if let Some(change) = &change {
                    self.roster.apply(change, place.seq);
                    self.settling.applying(place.seq, row.id, self.shards);
                }
                self.rows_out.push(RowOut { seq: place.seq, row, settling });
                (event, key, None, now, change)
            }
            Work::Change(_) | Work::Settle { .. } => return None,
        };
        self.keys.leave(&key);
        place.stamp(&mut event);
        let counted = event.kind == i32::from(wire::EventKind::Message)
            && event.flags & wire::EventFlag::Uncounted as u32 == 0;
        let encoded = EncodedEvent::new(&event);
        let (seq, id, key) = (place.seq, place.id, Some(key));
        Some(NewEvent { seq, id, encoded, counted, key, route, change, queued_at })
    }

    fn old_keys(&mut self) -> Vec<NewKey> {
        let Self { waiting, keys, .. } = self;
        let asked = waiting.iter().map_while(|work| match work {
            Work::Event(submission) => Some(submission.key),
            Work::Row { row, .. } if row.owed.is_silent() => None,
            Work::Row { row, .. } => Some(row_key(row)),
            Work::Change(_) | Work::Settle { .. } => None,
        });
        asked.filter(|key| matches!(keys.ask(key, None), Known::AskStore)).collect()
    }
}
