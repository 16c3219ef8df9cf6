//! A message on its way to the channel's owner.

use damso_proto::id::ChannelNo;
use damso_proto::wire;

use super::envelope::Envelope;
use super::floors::Floors;
use super::key;
use super::refusal::Refusal;
use crate::delivery::{self, Admission, Answer, Submission, Work};
use crate::model::draft::Draft;
use crate::model::limits;
use crate::model::rights::{Actor, Op};

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
    let key = key::check(actor, from.key, draft.body, floors.clock.unix_ms())?;
    if floors.log.writable().is_err() {
        let after = limits::UNAVAILABLE_RETRY;
        return Err(delivery::Refusal::Unavailable { after }.into());
    }
    // Elsewhere than at their home, and while the memberships are being read, the owner's own check
    // has to do.
    let loaded = floors.delivery.borrow().memberships(actor.number()).is_some();
    if loaded {
        floors.may(actor, channel, Op::Send)?;
    }
    let (Envelope { route, deadline, over, .. }, queued_at) = (from, floors.clock.now());
    let admission = match actor {
        Actor::User(_) => over.map_or(Admission::Asked, Admission::Over),
        Actor::Service => Admission::Exempt,
    };
    let event = draft.into_event(actor.number());
    let by = actor;
    let work = Work::Event(Submission { by, event, key, route, queued_at, deadline, admission });
    floors.delivery.borrow_mut().submit(channel, work);
    Ok(())
}

/// The same for whoever waits for the acknowledgement at `from.route` here.
///
/// # Errors
/// As [`send`], and what the outcome says.
pub async fn send_and_wait(
    actor: Actor,
    from: Envelope,
    message: wire::Send,
    floors: &Floors,
) -> Result<Answer, Refusal> {
    let outcome = floors.wait_for(from.route);
    send(actor, from, message, floors)?;
    outcome.of(floors).await
}
