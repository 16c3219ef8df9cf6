//! What stands beside every request.

use damso_proto::id::Key;

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
}
