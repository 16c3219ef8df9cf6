//! The room itself: what one shard knows of channels and people, fed by mail.
//!
//! Called from one thread. Calling order of a turn: `deliver` (mail in), answers to
//! their sessions, `send_off` (mail out), then the connections' own turn.

use std::sync::Arc;

use damso_proto::id::{ChannelNo, UserNo};
use damso_proto::time::Moment;

use super::home::{Arrival, Homes, LoadTicket};
use super::mail::{Answer, Mail, Membership, Outcome, Rights, Work};
use super::order::Order;
use super::owner::{Owned, Tools};
use super::post::{Mailboxes, Post};
use crate::connections::{Connections, Wire};
use crate::model::memory::Level;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::route::{ConnectionId, Route, ShardNo};
use crate::store::log::{Group, Run};

/// What a shard's delivery is made of.
pub struct Parts {
    /// This shard.
    pub me: ShardNo,
    /// This shard's mailbox.
    pub home: Arc<Mailbox<Mail>>,
    /// Every shard's mailbox, in order.
    pub mailboxes: Mailboxes,
    /// Stores, time, ids, door.
    pub tools: Tools,
    /// The shard's live pipes.
    pub connections: Connections,
}

/// See the module's text.
pub struct Delivery {
    /// The shard's live pipes.
    pub connections: Connections,
    tools: Tools,
    post: Post,
    owned: Owned,
    homes: Homes,
    mail: Vec<Mail>,
    orders: Vec<Order>,
    swept_at: Moment,
    /// As the connections were told last.
    memory_is_scarce: bool,
}

/// How often idle channels are looked for.
const SWEEP: std::time::Duration = std::time::Duration::from_secs(10);

impl Delivery {
    /// A shard without people and channels.
    pub fn new(parts: Parts) -> Self {
        let Parts { me, home, mailboxes, tools, connections } = parts;
        Self {
            connections,
            post: Post::new(me, home, mailboxes),
            owned: Owned::new(tools.clone()),
            homes: Homes::new(tools.limits.connections_per_user),
            mail: Vec::new(),
            orders: Vec::new(),
            swept_at: tools.clock.now(),
            memory_is_scarce: false,
            tools,
        }
    }

    /// Brings work to the channel's owner. Its outcome comes by [`Delivery::take_answers`].
    pub fn submit(&mut self, channel: ChannelNo, work: Work) {
        let owner = self.post.owner(channel);
        self.post.send(owner, Mail::Work(channel, work));
    }

    /// Enters a connection of `user`, whose home is this shard.
    pub fn arrive(&mut self, user: UserNo, connection: ConnectionId) -> Arrival {
        self.homes.arrive(user, connection)
    }

    /// The ticket of a person who is here but whose channels are still being read: whoever
    /// needs them earlier may read them, too.
    pub fn loading(&self, user: UserNo) -> Option<LoadTicket> {
        self.homes.loading(user)
    }

    /// The directory's list of a person's channels, read for this ticket, each with the channel's
    /// version. The first one counts.
    pub fn loaded(&mut self, user: UserNo, ticket: LoadTicket, read: Vec<(Membership, u64)>) {
        self.homes.loaded(user, ticket, read);
    }

    /// Joins a connection to the log of everything that its person is in, all cursors waiting, and
    /// returns that list, their own log first. A change of rights that passed before is in it; one
    /// that passes later comes live, once [`Delivery::told`] was called. `None`: the connection is
    /// gone, or its person's channels are still being read.
    pub fn enter(&mut self, user: UserNo, connection: ConnectionId) -> Option<Vec<Membership>> {
        self.homes.enter(user, connection, &mut self.connections)
    }

    /// The connection was told all of the list that it entered with.
    pub fn told(&mut self, user: UserNo, connection: ConnectionId) {
        let now = self.tools.clock.now();
        self.homes.told(user, connection, &mut self.connections, now);
    }

    /// A connection ended: out of every table. Returns its wire if it is still to be parted from.
    pub fn depart(&mut self, user: UserNo, connection: ConnectionId) -> Option<Wire> {
        self.homes.depart(user, connection, &mut self.connections);
        self.connections.remove(connection)
    }

    /// What a person who is here is in. `None`: still loading.
    pub fn memberships(&self, user: UserNo) -> Option<&[Membership]> {
        self.homes.memberships(user)
    }

    /// A person's membership, as of the last change that passed.
    pub fn membership(&self, user: UserNo, channel: ChannelNo) -> Option<Membership> {
        self.homes.membership(user, channel)
    }

    /// Letters that wait.
    pub fn mail(&self) -> usize {
        self.post.home().len()
    }

    /// People here, channels ordered here.
    pub fn counts(&self) -> (usize, usize) {
        (self.homes.len(), self.owned.len())
    }

    /// Takes the mail that has come and does what it asks.
    pub fn deliver(&mut self) {
        let is_scarce = self.tools.memory.level() >= Level::Scarce;
        if std::mem::replace(&mut self.memory_is_scarce, is_scarce) != is_scarce {
            self.connections.keep_less(is_scarce);
        }
        self.post.flush();
        let mut mail = std::mem::take(&mut self.mail);
        self.post.home().take(&mut mail);
        for one in mail.drain(..) {
            self.handle(one);
        }
        self.mail = mail;
        let now = self.tools.clock.now();
        if now.since(self.swept_at) >= SWEEP {
            self.swept_at = now;
            self.owned.drop_idle(now);
        }
    }

    /// Outcomes of requests of connections here.
    pub fn take_answers(&mut self) -> Vec<(Route, Outcome)> {
        self.post.take_answers()
    }

    /// What is wanted of sessions here, since the last call.
    pub fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }

    /// Returns the vector of `take_answers` for reuse.
    pub fn give_back(&mut self, answers: Vec<(Route, Outcome)>) {
        self.post.give_back(answers);
    }

    /// The turn's mail leaves.
    pub fn send_off(&mut self) {
        self.post.flush();
    }

    fn handle(&mut self, mail: Mail) {
        let Self { owned, post, .. } = self;
        match mail {
            Mail::Durable(group) => self.durable(&group),
            Mail::Work(channel, work) => owned.work(channel, work, post),
            Mail::Undone(run, why) => owned.undone(run, &why, post),
            Mail::Opened(channel, found) => owned.opened(channel, found, post),
            Mail::KeysFound(channel, found) => owned.keys_found(channel, found, post),
            Mail::Changed(channel, changed) => owned.changed(channel, changed, post),
            Mail::Failed(channel) => owned.failed(channel, post),
            Mail::Rights(rights) => self.rights(&rights),
            Mail::RightsApplied { channel, row, by } => {
                owned.rights_applied(channel, (row, by), post);
            }
            Mail::Applied(channel, seq) => owned.applied(channel, seq, post),
            Mail::RowStored { origin, row, stored } => owned.row_done(origin, row, stored, post),
            Mail::Head(channel, head) => {
                self.connections.reach(channel, head, self.tools.clock.now());
            }
            Mail::Answer(route, outcome) => post.answer(route, outcome),
            Mail::Order(order) => self.orders.push(order),
        }
    }

    /// A change that no event tells, between the one before `at` and that one.
    fn rights(&mut self, rights: &Rights) {
        let Rights { channel, row, at, ref change } = *rights;
        self.homes.before((channel, at), change, &mut self.connections);
        self.homes.after((channel, at.prev()), change, &mut self.connections);
        let (owner, by) = (self.post.owner(channel), self.post.me());
        self.post.send(owner, Mail::RightsApplied { channel, row, by });
    }

    fn durable(&mut self, group: &Arc<Group>) {
        let now = self.tools.clock.now();
        for run in &group.runs {
            self.fan_out(run, group, now);
            if self.post.owner(run.channel) == self.post.me() {
                self.owned.durable(run, &mut self.post);
            }
        }
    }

    fn fan_out(&mut self, run: &Run, group: &Group, now: Moment) {
        let me = self.post.me();
        for event in &run.events {
            let at = (run.channel, event.seq);
            if let Some(change) = &event.change {
                self.homes.before(at, change, &mut self.connections);
            }
            self.connections.append(run.channel, event.seq, event.encoded.frame(), now);
            if let Some(change) = &event.change {
                self.homes.after(at, change, &mut self.connections);
                let owner = self.post.owner(run.channel);
                self.post.send(owner, Mail::Applied(run.channel, event.seq));
            }
            if let Some(route) = event.route.filter(|route| route.shard == me) {
                let sent = Answer::Sent {
                    seq: event.seq,
                    id: event.id,
                    duplicate: false,
                    queued: group.committing_at.since(event.queued_at),
                    committed: group.durable_at.since(group.committing_at),
                };
                self.post.answer(route, Ok(sent));
            }
        }
    }
}
