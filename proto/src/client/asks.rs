//! Requests of the app that wait for their answer, across connections.
//!
//! A reading request that was lost with its connection is asked again; a changing
//! one is repeated with its own key, so that it happens once. Each has a deadline.

use std::collections::BTreeMap;

use super::conn::Ask;
use super::heard::Answer;
use crate::id::Key;
use crate::time::Moment;
use crate::wire;
use crate::wire::client_frame::Kind;

/// The app's name for one of its sends or requests.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(pub u64);

/// Parts of one answer that are put together, at most.
const PARTS_MAX: u32 = 256;

/// Why a request has no answer.
#[derive(thiserror::Error, Clone, PartialEq, Debug)]
pub enum AskError {
    /// The server refused it.
    #[error("refused with code {}: {}", .0.code, .0.text)]
    Refused(wire::Refusal),
    /// No answer in time. A change may have taken effect or may still do so.
    #[error("no answer in time")]
    Deadline,
    /// The server answered with something else, or in too many parts.
    #[error("the server's answer makes no sense")]
    Nonsense,
    /// Too many requests wait already.
    #[error("too many requests wait for an answer")]
    TooMany,
    /// Signed out or closed: no answer will come.
    #[error("the client is closed")]
    Closed,
}

#[derive(Debug)]
struct Waiting {
    kind: Kind,
    key: Option<Key>,
    attempts: u32,
    deadline: Moment,
    not_before: Moment,
    on_its_way: bool,
    parts: u32,
    answer: Option<Answer>,
}

/// All requests without a whole answer.
#[derive(Debug)]
pub(super) struct Asks {
    waiting: BTreeMap<Ticket, Waiting>,
    max: usize,
}

impl Asks {
    pub(super) fn new(max: usize) -> Self {
        Self { waiting: BTreeMap::new(), max }
    }

    /// Takes a request in. `false`: too many wait.
    pub(super) fn push(
        &mut self,
        ticket: Ticket,
        kind: Kind,
        key: Option<Key>,
        deadline: Moment,
    ) -> bool {
        if self.waiting.len() >= self.max {
            return false;
        }
        let waiting = Waiting {
            kind,
            key,
            attempts: 0,
            deadline,
            not_before: Moment::default(),
            on_its_way: false,
            parts: 0,
            answer: None,
        };
        self.waiting.insert(ticket, waiting);
        true
    }

    /// The oldest request that may go out now, as it goes out.
    pub(super) fn next_out(&mut self, now: Moment) -> Option<(Ticket, Ask)> {
        let ready = |waiting: &&mut Waiting| !waiting.on_its_way && now >= waiting.not_before;
        let (ticket, waiting) = self.waiting.iter_mut().find(|(_, waiting)| ready(waiting))?;
        waiting.on_its_way = true;
        let left_ms = waiting.deadline.since(now).as_millis();
        let ask = Ask {
            kind: waiting.kind.clone(),
            key: waiting.key,
            attempt: waiting.attempts,
            deadline_ms: u32::try_from(left_ms).unwrap_or(u32::MAX).max(1),
        };
        waiting.attempts = waiting.attempts.saturating_add(1);
        Some((*ticket, ask))
    }

    /// The connection is gone, and with it every half answer.
    pub(super) fn disconnected(&mut self) {
        for waiting in self.waiting.values_mut() {
            waiting.on_its_way = false;
            waiting.not_before = Moment::default();
            waiting.parts = 0;
            waiting.answer = None;
        }
    }

    /// A part of an answer came. `Some`: that was the last one.
    pub(super) fn answered(
        &mut self,
        ticket: Ticket,
        part: Answer,
        more: bool,
    ) -> Option<Result<Answer, AskError>> {
        let waiting = self.waiting.get_mut(&ticket)?;
        waiting.parts += 1;
        let whole = match waiting.answer.take() {
            None => Some(part),
            Some(answer) => join(answer, part),
        };
        let result = match whole {
            Some(answer) if !more => Ok(answer),
            Some(answer) if waiting.parts < PARTS_MAX => {
                waiting.answer = Some(answer);
                return None;
            }
            _ => Err(AskError::Nonsense),
        };
        self.waiting.remove(&ticket);
        Some(result)
    }

    /// It was refused for good.
    pub(super) fn refused(&mut self, ticket: Ticket) -> bool {
        self.waiting.remove(&ticket).is_some()
    }

    /// It was refused for now: the same again at `not_before`.
    pub(super) fn later(&mut self, ticket: Ticket, not_before: Moment) {
        if let Some(waiting) = self.waiting.get_mut(&ticket) {
            waiting.on_its_way = false;
            waiting.not_before = not_before;
        }
    }

    /// A request whose deadline has passed; it waits no longer.
    pub(super) fn late(&mut self, now: Moment) -> Option<Ticket> {
        let late = self.waiting.iter().find(|(_, waiting)| now >= waiting.deadline);
        let ticket = *late?.0;
        self.waiting.remove(&ticket);
        Some(ticket)
    }

    /// Nobody waits any more.
    pub(super) fn drain(&mut self) -> Vec<Ticket> {
        std::mem::take(&mut self.waiting).into_keys().collect()
    }

    /// When the next deadline passes.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.waiting.values().map(|waiting| waiting.deadline).min()
    }

    /// When a refused request may go out again.
    pub(super) fn next_ready(&self) -> Option<Moment> {
        let resting = self.waiting.values().filter(|waiting| !waiting.on_its_way);
        resting.map(|waiting| waiting.not_before).min()
    }
}

/// Puts a further part behind an answer. `None`: they do not belong together.
fn join(mut answer: Answer, part: Answer) -> Option<Answer> {
    match (&mut answer, part) {
        (Answer::Page(page), Answer::Page(mut next)) if page.channel == next.channel => {
            if next.from < page.from {
                std::mem::swap(page, &mut next);
            }
            page.rows.append(&mut next.rows);
            page.to = page.to.max(next.to);
            page.as_of = page.as_of.min(next.as_of);
        }
        (Answer::Channels(list), Answer::Channels(next)) => {
            list.channels.extend(next.channels);
            list.end = next.end;
        }
        (Answer::Members(list), Answer::Members(next)) => {
            list.members.extend(next.members);
            list.end = next.end;
        }
        (Answer::Bans(list), Answer::Bans(next)) => {
            list.bans.extend(next.bans);
            list.end = next.end;
        }
        (Answer::People(people), Answer::People(next)) => people.people.extend(next.people),
        (Answer::Outcomes(outcomes), Answer::Outcomes(next)) => {
            outcomes.outcomes.extend(next.outcomes);
        }
        _ => return None,
    }
    Some(answer)
}
