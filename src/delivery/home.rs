//! Who is here: memberships and connections of the people whose home is this shard.
//!
//! A person is entered as *loading* before the directory is read, and changes of
//! rights that pass meanwhile are kept and applied to what was read. So nothing can
//! fall between reading and listening. A change is applied in the same order as the
//! events: an added person joins before the event that tells it, a removed one gets
//! that event and nothing after it.
//!
//! A connection comes in three steps, and each change falls into exactly one of them:
//!
//! ```text
//! arrive ------------> enter ----------------------> told
//!    in the list that        joined, and held back        live at once
//!    it enters with          until the list is told
//! ```

use damso_proto::id::{ChannelNo, Seq, UserNo};
use damso_proto::time::Moment;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::mail::Membership;
use crate::connections::{Connections, Start};
use crate::model::rights::{Kind, RightsChange, RightsDelta};
use crate::runtime::route::ConnectionId;

/// What a person who comes in finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// The memberships are here.
    Known,
    /// Read the directory, then call `loaded` with this ticket.
    Load(LoadTicket),
    /// The person has as many connections as one may have.
    TooMany,
}

/// Names one reading of the directory, so that a late answer is not taken for a newer one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LoadTicket(u64);

pub(super) struct Homes {
    people: HashMap<UserNo, Home, FixedState>,
    tickets: u64,
    connections_per_user_max: usize,
}

struct Home {
    connections: Vec<Here>,
    /// Sorted by channel.
    memberships: Vec<Membership>,
    loading: Option<(LoadTicket, Vec<Passed>)>,
}

/// A connection of a person who is here.
struct Here {
    id: ConnectionId,
    stage: Stage,
}

/// How far a connection has come.
enum Stage {
    /// It is in no channel log yet.
    Arrived,
    /// It is being told what it entered with. Channels added since then, each with its first seq.
    Entered(Vec<(ChannelNo, Seq)>),
    /// It knows what its person is in.
    Told,
}

/// A change that passed while the directory was being read.
struct Passed {
    channel: ChannelNo,
    seq: Seq,
    kind: Kind,
    /// The directory's version of the channel with it.
    version: u64,
    delta: RightsDelta,
}

impl Homes {
    /// Nobody is here.
    pub(super) fn new(connections_per_user_max: usize) -> Self {
        Self { people: HashMap::default(), tickets: 0, connections_per_user_max }
    }

    /// Enters a connection of `user`.
    pub(super) fn arrive(&mut self, user: UserNo, connection: ConnectionId) -> Arrival {
        let tickets = &mut self.tickets;
        let home = self.people.entry(user).or_insert_with(|| {
            *tickets += 1;
            let loading = Some((LoadTicket(*tickets), Vec::new()));
            Home { connections: Vec::new(), memberships: Vec::new(), loading }
        });
        if home.connections.len() >= self.connections_per_user_max {
            return Arrival::TooMany;
        }
        home.connections.push(Here { id: connection, stage: Stage::Arrived });
        match &home.loading {
            Some((ticket, _)) => Arrival::Load(*ticket),
            None => Arrival::Known,
        }
    }

    /// The directory's answer, each membership with the version of its channel. Changes that passed
    /// meanwhile are applied to it, unless what was read has them already.
    pub(super) fn loaded(
        &mut self,
        user: UserNo,
        ticket: LoadTicket,
        mut read: Vec<(Membership, u64)>,
    ) {
        let Some(home) = self.people.get_mut(&user) else { return };
        match home.loading.take() {
            Some((expected, passed)) if expected == ticket => {
                read.sort_unstable_by_key(|(membership, _)| membership.channel);
                // Kept while the person is here: collecting would keep the memory of the longer
                // rows, too.
                home.memberships = Vec::with_capacity(read.len());
                home.memberships.extend(read.iter().map(|(membership, _)| *membership));
                for passed in passed {
                    let at = read.binary_search_by_key(&passed.channel, |(it, _)| it.channel);
                    if at.is_ok_and(|at| passed.version <= read[at].1) {
                        continue;
                    }
                    home.apply(&passed);
                }
            }
            other => home.loading = other,
        }
    }

    /// The reading of the directory that `user` still waits for.
    pub(super) fn loading(&self, user: UserNo) -> Option<LoadTicket> {
        self.people.get(&user)?.loading.as_ref().map(|(ticket, _)| *ticket)
    }

    /// What `user` is in, by rising channel number. `None`: not here, or still loading.
    pub(super) fn memberships(&self, user: UserNo) -> Option<&[Membership]> {
        let home = self.people.get(&user)?;
        home.loading.is_none().then_some(&*home.memberships)
    }

    /// The membership of `user` in `channel`, if there is one. A person's own log is always theirs.
    pub(super) fn membership(&self, user: UserNo, channel: ChannelNo) -> Option<Membership> {
        let own = (channel == ChannelNo::self_of(user)).then_some(own_log(user));
        own.or_else(|| {
            let memberships = self.memberships(user)?;
            let at = memberships.binary_search_by_key(&channel, |found| found.channel).ok()?;
            memberships.get(at).copied()
        })
    }

    /// Joins a connection to everything that its person is in, all cursors waiting, and returns
    /// that: a change before this is in it, a change after it comes live. `None`: not here, or
    /// still loading.
    pub(super) fn enter(
        &mut self,
        user: UserNo,
        connection: ConnectionId,
        connections: &mut Connections,
    ) -> Option<Vec<Membership>> {
        let home = self.people.get_mut(&user).filter(|home| home.loading.is_none())?;
        let here = home.connections.iter_mut().find(|here| here.id == connection)?;
        here.stage = Stage::Entered(Vec::new());
        let mut list = vec![own_log(user)];
        list.extend_from_slice(&home.memberships);
        for membership in &list {
            connections.join(membership.channel, connection, Start::Waiting(membership.from));
        }
        Some(list)
    }

    /// The connection was told what it entered with: channels added since then go live.
    pub(super) fn told(
        &mut self,
        user: UserNo,
        connection: ConnectionId,
        connections: &mut Connections,
        now: Moment,
    ) {
        let home = self.people.get_mut(&user);
        let here = home.and_then(|home| home.connections.iter_mut().find(|it| it.id == connection));
        let Some(here) = here else { return };
        if let Stage::Entered(added) = std::mem::replace(&mut here.stage, Stage::Told) {
            for (channel, seq) in added {
                connections.start(channel, connection, seq, now);
            }
        }
    }

    /// A connection ends: it leaves every channel log; the last one takes the person along.
    pub(super) fn depart(
        &mut self,
        user: UserNo,
        connection: ConnectionId,
        connections: &mut Connections,
    ) {
        let Some(home) = self.people.get_mut(&user) else { return };
        home.connections.retain(|other| other.id != connection);
        for membership in &home.memberships {
            connections.leave(membership.channel, connection);
        }
        connections.leave(ChannelNo::self_of(user), connection);
        if home.connections.is_empty() {
            self.people.remove(&user);
        }
    }

    /// Before the event at `seq` is appended, be it the one that tells the change or the one that
    /// comes next: added people join, so that they get it. A connection
    /// that is being told what it entered with gets it after that, or what it is told of this
    /// channel would contradict what it has heard.
    pub(super) fn before(
        &mut self,
        (channel, seq): (ChannelNo, Seq),
        change: &RightsChange,
        connections: &mut Connections,
    ) {
        self.each(channel, seq, change, |home, passed, was| {
            if matches!(passed.delta, RightsDelta::Added(..)) && !was {
                for Here { id, stage } in &mut home.connections {
                    match stage {
                        Stage::Arrived => {}
                        Stage::Entered(added) => {
                            connections.join(channel, *id, Start::Waiting(seq));
                            added.push((channel, seq));
                        }
                        Stage::Told => connections.join(channel, *id, Start::At(seq)),
                    }
                }
            }
        });
    }

    /// After the event at `seq` was appended, the last one that removed people get: nothing newer.
    pub(super) fn after(
        &mut self,
        (channel, seq): (ChannelNo, Seq),
        change: &RightsChange,
        connections: &mut Connections,
    ) {
        for delta in &change.people {
            let RightsDelta::Removed(user) = *delta else { continue };
            let home = self.people.get(&user);
            // A change may be told twice: then a later one may have let them in again.
            let Some(home) = home.filter(|home| !home.has(channel)) else { continue };
            for here in &home.connections {
                connections.stop_after(channel, here.id, seq);
            }
        }
    }

    /// How many people are here.
    pub(super) fn len(&self) -> usize {
        self.people.len()
    }

    fn each(
        &mut self,
        channel: ChannelNo,
        seq: Seq,
        change: &RightsChange,
        mut joined: impl FnMut(&mut Home, &Passed, bool),
    ) {
        for delta in &change.people {
            let Some(home) = self.people.get_mut(&delta.user()) else { continue };
            let RightsChange { kind, version, .. } = *change;
            let passed = Passed { channel, seq, kind, version, delta: *delta };
            match &mut home.loading {
                Some((_, kept)) => kept.push(passed),
                None => {
                    let was = home.has(channel);
                    home.apply(&passed);
                    joined(home, &passed, was);
                }
            }
        }
    }
}

impl Home {
    fn has(&self, channel: ChannelNo) -> bool {
        self.memberships.binary_search_by_key(&channel, |found| found.channel).is_ok()
    }

    fn apply(&mut self, passed: &Passed) {
        let at = self.memberships.binary_search_by_key(&passed.channel, |found| found.channel);
        match (passed.delta, at) {
            (RightsDelta::Added(_, role, sight), Err(at)) => {
                let Passed { channel, seq, kind, .. } = *passed;
                let from = sight.first(seq);
                self.memberships.insert(at, Membership { channel, from, kind, role });
            }
            (RightsDelta::RoleSet(..), Err(_)) => {}
            (RightsDelta::Added(_, role, _) | RightsDelta::RoleSet(_, role), Ok(at)) => {
                if let Some(found) = self.memberships.get_mut(at) {
                    found.role = role;
                }
            }
            (RightsDelta::Removed(_), Ok(at)) => drop(self.memberships.remove(at)),
            (RightsDelta::Removed(_), Err(_))
            | (RightsDelta::Muted(..) | RightsDelta::Blocks(..), _) => {}
        }
    }
}

/// A person's membership in their own log.
pub(super) fn own_log(user: UserNo) -> Membership {
    Membership {
        channel: ChannelNo::self_of(user),
        from: Seq::new(1),
        kind: Kind::Personal,
        role: crate::model::rights::Role::Member,
    }
}
