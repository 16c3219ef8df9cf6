//! Idempotency keys of requests: young enough to be known, not from the future.

use damso_proto::id::Key;

use super::refusal::Refusal;
use crate::model::body::BodyHash;
use crate::model::limits;
use crate::model::rights::Actor;
use crate::store::log::NewKey;

/// The key of a mutating request, checked against the server's clock.
pub(super) fn check(
    actor: Actor,
    key: Option<Key>,
    body: BodyHash,
    now_ms: u64,
) -> Result<NewKey, Refusal> {
    let key = key.ok_or(Refusal::KeyMissing)?;
    if key.unix_ms() > now_ms.saturating_add(limits::millis_long(limits::KEY_AHEAD_MAX)) {
        return Err(Refusal::KeyInFuture);
    }
    if key.unix_ms().saturating_add(limits::millis_long(limits::KEY_WINDOW)) < now_ms {
        return Err(Refusal::KeyExpired);
    }
    Ok(NewKey { user: actor.number(), key, body })
}
