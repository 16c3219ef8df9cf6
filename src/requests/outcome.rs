//! What became of sends whose answer never came.

use damso_proto::id::{ChannelNo, Key, MessageId, Seq};
use damso_proto::wire;

use super::floors::Floors;
use super::refusal::Refusal;
use crate::model::deadline::Deadline;
use crate::model::draft::Invalid;
use crate::model::limits;
use crate::model::rights::Actor;

/// Looks up the caller's own keys. What is not stored, and what is in a channel that is
/// not theirs, looks the same: `seq` 0.
///
/// # Errors
/// [`Refusal::Store`] (retry is safe) where the store cannot be read now.
pub async fn outcomes(
    actor: Actor,
    asked: Vec<wire::PendingKey>,
    deadline: Deadline,
    floors: &Floors,
) -> Result<wire::Outcomes, Refusal> {
    if asked.len() > limits::OUTCOMES_MAX {
        return Err(Invalid::TooLarge { field: "keys", max: limits::OUTCOMES_MAX }.into());
    }
    let (log, user) = (floors.log.clone(), actor.number());
    let expired_before =
        floors.clock.unix_ms().saturating_sub(limits::millis_long(limits::KEY_WINDOW));
    let outcomes = floors
        .behind_door(deadline, move || {
            let outcome = |ask: wire::PendingKey| {
                let key = Key::parse(&ask.key);
                let found = match key {
                    Some(key) => log.find_key(ChannelNo::new(ask.channel), user, key)?,
                    None => None,
                };
                let (seq, id) =
                    found.map_or((Seq::ZERO, MessageId::default()), |row| (row.seq, row.id));
                let old = key.is_some_and(|key| key.unix_ms() < expired_before);
                let expired = found.is_none() && old;
                let (channel, key, seq, id) = (ask.channel, ask.key, seq.get(), id.get());
                Ok(wire::Outcome { channel, key, seq, id, expired })
            };
            asked.into_iter().map(outcome).collect::<Result<Vec<_>, _>>()
        })
        .await?
        .map_err(Refusal::Store)?;
    Ok(wire::Outcomes { outcomes })
}
