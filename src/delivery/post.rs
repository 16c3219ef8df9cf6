//! Mailboxes out of a shard, and what the store's committer is given as its sink.
//!
//! Mail gathers per target shard and leaves once a turn: one lock and at most one
//! wake-up per pair of shards and turn, whatever the number of messages.

use std::sync::Arc;

use damso_proto::id::{ChannelNo, UserNo};
use metrics::counter;

use super::mail::{Mail, Outcome};
use crate::model::limits;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::placement::{self, Shards};
use crate::runtime::route::{Route, ShardNo};
use crate::store::log::{Group, Run, Sink, Undone};

/// Every shard's mailbox, in order of shard number.
#[derive(Clone)]
pub struct Mailboxes {
    all: Arc<[Arc<Mailbox<Mail>>]>,
    shards: Shards,
}

impl Mailboxes {
    /// One mailbox per shard.
    pub fn new(shards: Shards) -> Self {
        let mailbox = |_| Arc::new(Mailbox::new(limits::MAILBOX_MAX));
        Self { all: shards.all().map(mailbox).collect(), shards }
    }

    /// The mailbox of one shard.
    pub fn of(&self, shard: ShardNo) -> Option<&Arc<Mailbox<Mail>>> {
        self.all.get(shard.index())
    }

    /// All of them, in order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Mailbox<Mail>>> {
        self.all.iter()
    }

    /// A person's home shard.
    pub fn home_of(&self, user: UserNo) -> ShardNo {
        placement::home(user, self.shards)
    }

    /// The mailbox of a person's home shard.
    pub fn home(&self, user: UserNo) -> Option<&Arc<Mailbox<Mail>>> {
        self.of(self.home_of(user))
    }

    pub(super) fn owner(&self, channel: ChannelNo) -> Option<&Arc<Mailbox<Mail>>> {
        self.of(placement::owner(channel, self.shards))
    }
}

/// The store's sink: every shard hears of every group; an owner alone of a run that failed.
pub struct Groups {
    mailboxes: Mailboxes,
}

impl Groups {
    /// A sink for these shards.
    pub fn new(mailboxes: Mailboxes) -> Self {
        Self { mailboxes }
    }
}

/// Posts however long it takes: neither a group nor what a store answered may be lost, and a
/// shard that is behind slows down whoever gives it more to do, which is what should happen.
pub(super) fn insist(mailbox: &Mailbox<Mail>, mail: Mail) {
    let refused = mailbox.insist(mail);
    if refused > 0 {
        counter!("damso_mailbox_full_total").increment(refused);
    }
}

impl Sink for Groups {
    fn durable(&self, group: Arc<Group>) {
        for mailbox in &*self.mailboxes.all {
            insist(mailbox, Mail::Durable(group.clone()));
        }
    }

    fn undone(&self, run: Run, why: Undone) {
        let Some(owner) = self.mailboxes.owner(run.channel) else { return };
        insist(owner, Mail::Undone(run, why));
    }
}

/// What a shard sends in a turn.
pub(super) struct Post {
    me: ShardNo,
    home: Arc<Mailbox<Mail>>,
    mailboxes: Mailboxes,
    out: Vec<Vec<Mail>>,
    answers: Vec<(Route, Outcome)>,
}

impl Post {
    /// The post of shard `me`.
    pub(super) fn new(me: ShardNo, home: Arc<Mailbox<Mail>>, mailboxes: Mailboxes) -> Self {
        let out = mailboxes.all.iter().map(|_| Vec::new()).collect();
        Self { me, home, mailboxes, out, answers: Vec::new() }
    }

    /// This shard.
    pub(super) fn me(&self) -> ShardNo {
        self.me
    }

    /// How many shards there are.
    pub(super) fn shards(&self) -> usize {
        self.mailboxes.shards.count()
    }

    /// This shard's own mailbox, for jobs behind the door to answer to.
    pub(super) fn home(&self) -> &Arc<Mailbox<Mail>> {
        &self.home
    }

    /// The shard that orders `channel`.
    pub(super) fn owner(&self, channel: ChannelNo) -> ShardNo {
        placement::owner(channel, self.mailboxes.shards)
    }

    /// Sends at the end of the turn.
    pub(super) fn send(&mut self, to: ShardNo, mail: Mail) {
        if let Some(out) = self.out.get_mut(to.index()) {
            out.push(mail);
        }
    }

    /// Sends to every shard, this one included.
    pub(super) fn send_all(&mut self, mut mail: impl FnMut() -> Mail) {
        for out in &mut self.out {
            out.push(mail());
        }
    }

    /// Answers a request, wherever its connection is.
    pub(super) fn answer(&mut self, route: Route, outcome: Outcome) {
        if route.shard == self.me {
            self.answers.push((route, outcome));
        } else {
            self.send(route.shard, Mail::Answer(route, outcome));
        }
    }

    /// Answers to requests of connections here, since the last call.
    pub(super) fn take_answers(&mut self) -> Vec<(Route, Outcome)> {
        std::mem::take(&mut self.answers)
    }

    /// Gives an emptied buffer back, so that its memory is used again.
    pub(super) fn give_back(&mut self, mut answers: Vec<(Route, Outcome)>) {
        answers.clear();
        if self.answers.is_empty() {
            self.answers = answers;
        }
    }

    /// The turn's mail leaves.
    pub(super) fn flush(&mut self) {
        for (mailbox, out) in self.mailboxes.all.iter().zip(&mut self.out) {
            if mailbox.post_all(out).is_err() {
                // Kept for the next turn; what may wait is bounded where work is taken in.
                counter!("damso_mailbox_full_total").increment(1);
            }
        }
    }
}
