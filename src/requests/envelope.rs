//! What stands beside every request.

use std::time::Duration;

use damso_proto::id::Key;
use damso_proto::time::Moment;

use super::refusal::Refusal;
use crate::model::deadline::Deadline;
use crate::runtime::route::Route;

/// What stands beside a request, whatever it asks.
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    /// Where the answer goes.
    pub route: Route,
    /// Tells a repetition. `None`: none was sent, or what was sent is no UUIDv7.
    pub key: Option<Key>,
    /// Until when it is worth starting.
    pub deadline: Deadline,
    /// Its person asks too often: only a repetition is answered, anything else is told to come
    /// back after this.
    pub over: Option<Duration>,
}

impl Envelope {
    /// Why nothing may begin for it any more. A repetition begins nothing.
    pub fn barred(&self, now: Moment) -> Option<Refusal> {
        let late = || self.deadline.is_past(now).then_some(Refusal::late());
        self.over.map(Refusal::too_often).or_else(late)
    }
}
