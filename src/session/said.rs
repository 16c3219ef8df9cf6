//! What a client said, and what is done about it.

use std::rc::Rc;
use std::time::Duration;

use damso_proto::code::CloseCode;
use damso_proto::id::{ChannelNo, Epoch, RequestId, Seq, UserNo};
use damso_proto::server::{Request, Said};
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Asked;
use damso_proto::wire::server_frame::Kind;

use super::bulk;
use super::renewal;
use super::reply;
use super::resume;
use super::shard::Shard;
use super::table::Resuming;
use crate::delivery::Arrival;
use crate::model::budget::Over;
use crate::model::deadline::Deadline;
use crate::model::limits;
use crate::model::rights::Actor;
use crate::requests::{self, Cursor, Envelope, Refusal, Unpaid};
use crate::runtime::route::{ConnectionId, Route};

impl Shard {
    pub(super) fn said(self: &Rc<Self>, id: ConnectionId, said: Said) {
        match said {
            Said::Request(request) => self.requested(id, request),
            Said::Unknown(request) => self.refuse(id, request, &Refusal::Unknown),
            Said::Resume(resume) => self.resume(id, resume),
            Said::Ping(ping) => {
                let pong = wire::Pong { id: ping, time_ms: self.floors().clock.unix_ms() };
                self.control(id, reply::unasked(Kind::Pong(pong)));
                self.kick();
            }
            // Answers are on their way or done: whoever cancels ignores them by their id.
            Said::Cancel(_) | Said::KeepAlive | Said::Pong { .. } => {}
            // The machine hands Hello out once, before there is a session.
            Said::Hello(_) => self.close(id, CloseCode::Malformed, Duration::ZERO, "Hello twice"),
        }
    }

    fn requested(self: &Rc<Self>, id: ConnectionId, request: Request) {
        let counted = self.with_session(id, |session| {
            session.in_flight += 1;
            session.user
        });
        let Some(user) = counted else { return };
        let actor = Actor::User(user);
        let Request { id: number, key, deadline_ms, kind, .. } = request;
        let Some(row) = requests::row(&kind) else {
            return self.refuse(id, number, &Refusal::Unknown);
        };
        self.metrics().requested(row.name);
        let now = self.floors().clock.now();
        let route = Route { shard: self.number(), connection: id, request: number };
        let deadline = Deadline::after(now, deadline_ms);
        let mut from = Envelope { route, key, deadline, over: None };
        let paid = self.floors().budgets.borrow_mut().pay(user, row.price(), now);
        match paid {
            Ok(()) => {}
            Err(Unpaid::Crowded(refusal)) => return self.refuse(id, number, &refusal),
            Err(Unpaid::Over(Over { hold, after })) => {
                from.over = Some(after);
                if !hold.is_zero() {
                    return self.hold(hold, actor, from, kind);
                }
            }
        }
        self.carry_out(actor, from, kind);
    }

    /// Puts off what is far beyond its person's budget. It counts as in flight meanwhile, so that
    /// reading stops once a connection is full of such.
    fn hold(self: &Rc<Self>, hold: Duration, actor: Actor, from: Envelope, kind: Asked) {
        self.metrics().held();
        let shard = self.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(hold).await;
            match shard.with_session(from.route.connection, |session| session.is_over) {
                Some(false) => shard.carry_out(actor, from, kind),
                // Whoever asked may do so no more.
                Some(true) => shard.answered(from.route.connection),
                None => {}
            }
        });
    }

    fn carry_out(self: &Rc<Self>, actor: Actor, from: Envelope, kind: Asked) {
        let Route { connection: id, request: number, .. } = from.route;
        if let Asked::Send(send) = kind {
            self.with_session(id, |session| session.sends = true);
            match requests::send(actor, from, send, self.floors()) {
                Ok(()) => self.kick(),
                Err(refusal) => self.refuse(id, number, &refusal),
            }
            return;
        }
        if let Asked::Reauth(wire::Reauth { token }) = kind {
            if let Some(refusal) = from.barred(self.floors().clock.now()) {
                return self.refuse(id, number, &refusal);
            }
            let renewing = renewal::renew(self.clone(), (id, number), actor.number(), token);
            tokio::task::spawn_local(renewing);
            return;
        }
        let shard = self.clone();
        tokio::task::spawn_local(async move {
            shard.know(actor.number()).await;
            if shard.with_session(id, |session| session.is_over).unwrap_or(true) {
                // Nobody is left to be answered, and whoever asked may do so no more.
                return shard.answered(id);
            }
            let reply = requests::handle(actor, from, kind, shard.floors()).await;
            shard.floors().forget(from.route);
            match reply {
                Ok(kind) if bulk::is_long(&kind) => {
                    // Gone: nobody is left to be told.
                    let _ = bulk::answer(&shard, id, number, kind).await;
                }
                Ok(kind) => shard.control(id, reply::answer(number, kind)),
                Err(refusal) => {
                    shard.metrics().turned_away(&refusal);
                    shard.control(id, reply::answer(number, reply::refusal(&refusal)));
                }
            }
            shard.answered(id);
            shard.kick();
        });
    }

    /// A request may come right behind Resume, while the person's channels are still being
    /// read: they must be known before it is asked what is theirs.
    async fn know(&self, user: UserNo) {
        let loading = self.floors().delivery.borrow().loading(user);
        if let Some(ticket) = loading
            && let Ok(read) = requests::memberships(user, self.floors()).await
        {
            self.floors().delivery.borrow_mut().loaded(user, ticket, read);
        }
    }

    fn refuse(&self, id: ConnectionId, request: RequestId, refusal: &Refusal) {
        self.metrics().turned_away(refusal);
        self.control(id, reply::answer(request, reply::refusal(refusal)));
        self.answered(id);
        self.kick();
    }

    fn resume(self: &Rc<Self>, id: ConnectionId, resume: wire::Resume) {
        let last = resume.last;
        let taken = self.with_session(id, |session| {
            let resuming = session.resuming.as_mut()?;
            if let Err(text) = gather(resuming, resume) {
                return Some(Err(text));
            }
            let done = if last { session.resuming.take() } else { None };
            Some(Ok(done.map(|resuming| (session.user, resuming))))
        });
        match taken.flatten() {
            None | Some(Ok(None)) => {}
            Some(Err(text)) => self.close(id, CloseCode::Malformed, Duration::ZERO, text),
            Some(Ok(Some((user, resuming)))) => {
                let arrival = self.floors().delivery.borrow_mut().arrive(user, id);
                if arrival == Arrival::TooMany {
                    let text = "this person has as many connections as one may have";
                    return self.close(id, CloseCode::TooManyConnections, Duration::ZERO, text);
                }
                let shard = self.clone();
                tokio::task::spawn_local(resume::run(shard, id, (user, arrival), resuming));
            }
        }
    }
}

/// Adds a frame's cursors. Channels rise within a frame; a frame has an epoch of its own.
fn gather(resuming: &mut Resuming, frame: wire::Resume) -> Result<(), &'static str> {
    let wire::Resume { channel_delta, seq, pending, epoch, last } = frame;
    if channel_delta.len() != seq.len() || seq.len() > limits::RESUME_CURSORS_PER_FRAME_MAX {
        return Err("Resume: as many seqs as channels, at most 4,096 a frame");
    }
    let seqs = &mut resuming.cursors.seqs;
    if seqs.len() + seq.len() > limits::RESUME_CHANNELS_MAX {
        return Err("Resume: more channels than one may be in");
    }
    if pending.len() > limits::OUTCOMES_MAX
        || resuming.pending.len() + pending.len() > limits::RESUME_PENDING_MAX
    {
        return Err("Resume: at most 256 pending sends a frame, 1,024 together");
    }
    let (mut number, epoch) = (0_u64, Epoch::new(epoch));
    for (at, (delta, seq)) in channel_delta.into_iter().zip(seq).enumerate() {
        if at > 0 && delta == 0 {
            return Err("Resume: channels must rise");
        }
        number = number.checked_add(delta).ok_or("Resume: no such channel")?;
        seqs.push(Cursor { channel: ChannelNo::new(number), seq: Seq::new(seq), epoch });
    }
    if last {
        seqs.sort_unstable_by_key(|had| had.channel);
        if !seqs.is_sorted_by(|one, next| one.channel < next.channel) {
            return Err("Resume: a channel twice");
        }
    }
    let pending = pending.into_iter();
    resuming.pending.extend(
        pending.map(|wire::PendingSend { channel, key }| wire::PendingKey { channel, key }),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(channel_delta: &[u64], seq: &[u64]) -> wire::Resume {
        let (channel_delta, seq) = (channel_delta.to_vec(), seq.to_vec());
        wire::Resume { channel_delta, seq, ..Default::default() }
    }

    fn seen(resuming: &Resuming) -> Vec<(u64, u64, u64)> {
        let seqs = resuming.cursors.seqs.iter();
        seqs.map(|had| (had.channel.get(), had.seq.get(), had.epoch.get())).collect()
    }

    #[test]
    fn cursors_add_up_over_frames_each_with_its_epoch() {
        let mut resuming = Resuming::default();
        let old = wire::Resume { epoch: 1, ..frame(&[2, 2, 6], &[1, 2, 3]) };
        let new = wire::Resume { epoch: 2, last: true, ..frame(&[8], &[7]) };
        assert_eq!(gather(&mut resuming, old), Ok(()));
        assert_eq!(gather(&mut resuming, new), Ok(()));
        assert_eq!(seen(&resuming), [(2, 1, 1), (4, 2, 1), (8, 7, 2), (10, 3, 1)]);
    }

    #[test]
    fn cursors_that_do_not_rise_or_lie_about_their_number_are_refused() {
        for bad in [frame(&[2, 0], &[1, 1]), frame(&[2], &[]), frame(&[u64::MAX, 1], &[1, 1])] {
            assert!(gather(&mut Resuming::default(), bad.clone()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_channel_that_stands_in_two_frames_is_refused() {
        let mut resuming = Resuming::default();
        assert_eq!(gather(&mut resuming, frame(&[4], &[1])), Ok(()));
        let again = wire::Resume { last: true, ..frame(&[4], &[2]) };
        assert!(gather(&mut resuming, again).is_err());
    }
}
