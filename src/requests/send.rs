//! A message on its way to the channel's owner.

use damso_proto::id::ChannelNo;
use damso_proto::wire;

use super::envelope::Envelope;
use super::floors::{Actor, Floors};
use super::key;
use super::refusal::Refusal;
use crate::delivery::{self, Admission, Submission, Work};
use crate::model::draft::Draft;
use crate::model::limits;
use crate::model::rights::Op;

/// Checks a message and submits it. The acknowledgement comes with the outcome of
/// `from.route`, after the durable commit.
///
/// # Errors
/// [`delivery::Refusal::NotFound`] where the channel is absent *or* not the caller's to
/// write in; [`delivery::Refusal::Unavailable`] (retry is safe) while the store takes no
/// writes; the draft's and the key's own faults. What is new and too much is refused with
/// the outcome: the owner knows what is a repetition.
pub fn send(
    actor: Actor,
    from: Envelope,
    send: wire::Send,
    floors: &Floors,
) -> Result<(), Refusal> {
    let channel = ChannelNo::new(send.channel);
    let draft = Draft::check(send)?;
    let key = key::check(actor.user, from.key, draft.body, floors.clock.unix_ms())?;
    if floors.log.writable().is_err() {
        let after = limits::UNAVAILABLE_RETRY;
        return Err(delivery::Refusal::Unavailable { after }.into());
    }
    let loaded = floors.delivery.borrow().memberships(actor.user).is_some();
    // While the memberships are being read, the owner's own check has to do.
    if loaded {
        floors.may(actor, channel, Op::Send)?;
    }
    let (Envelope { route, deadline, over, .. }, queued_at) = (from, floors.clock.now());
    let admission = over.map_or(Admission::Asked, Admission::Over);
    let event = draft.into_event(actor.user);
    let work = Work::Event(Submission { event, key, route, queued_at, deadline, admission });
    floors.delivery.borrow_mut().submit(channel, work);
    Ok(())
}
