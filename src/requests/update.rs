//! What a channel is called, and what is noted on it.

use damso_proto::wire;

use super::envelope::Envelope;
use super::floors::Floors;
use super::members::change;
use super::refusal::Refusal;
use crate::delivery::ChangeKind;
use crate::model::rights::Actor;
use crate::model::update::UpdateDraft;

/// Gives a channel another name, or notes something else on it; answered when every shard knows it.
///
/// # Errors
/// [`crate::delivery::Refusal::NotFound`] where the channel is absent or not the caller's;
/// [`crate::delivery::Refusal::NotAllowed`] where their role, or its kind, does not allow it; the
/// draft's and the key's own faults.
pub(super) async fn channel(
    actor: Actor,
    from: Envelope,
    ask: wire::UpdateChannel,
    floors: &Floors,
) -> Result<wire::Done, Refusal> {
    let UpdateDraft { channel, update, body } = UpdateDraft::check(ask)?;
    for op in update.ops() {
        floors.may(actor, channel, op)?;
    }
    change(actor, from, channel, ChangeKind::Update(update), body, floors).await
}
