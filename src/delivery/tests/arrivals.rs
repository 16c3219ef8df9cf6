//! A connection that comes while its person's channels change hears of each change once.

use damso_proto::id::{ChannelNo, Seq, UserNo};

use super::kit::World;
use crate::connections::tests::kit::{Client, Got, ROOMY};
use crate::delivery::{Arrival, ChangeKind, LoadTicket, Membership};
use crate::runtime::route::ConnectionId;
use crate::store::directory::kit::joining;
use crate::store::directory::{self, Directory as _};
use crate::store::memory::Commit;

/// Bob's device, on its way in.
pub(super) struct Device {
    pub(super) id: ConnectionId,
    client: Client,
    bob: UserNo,
    /// The reading of the directory that it waits for, and what was read.
    loading: Option<(LoadTicket, Vec<(Membership, u64)>)>,
}

impl Device {
    /// Arrived, with the person's channels read.
    pub(super) fn arrive(world: &mut World, bob: UserNo) -> Self {
        let mut device = Self::loading(world, bob);
        device.read(world);
        device.loaded(world);
        device
    }

    /// Arrived.
    pub(super) fn loading(world: &mut World, bob: UserNo) -> Self {
        let (wire, client) = Client::connected(ROOMY);
        let now = world.tools.clock.now();
        let id = world.delivery.connections.enter(wire, now);
        let loading = match world.delivery.arrive(bob, id) {
            Arrival::Load(ticket) => Some((ticket, Vec::new())),
            Arrival::Known | Arrival::TooMany => None,
        };
        Self { id, client, bob, loading }
    }

    /// The person's channels are read.
    pub(super) fn read(&mut self, world: &mut World) {
        let Some((_, read)) = &mut self.loading else { return };
        let rows = world.directory.memberships(self.bob, ChannelNo::default(), 100).unwrap();
        *read = rows
            .into_iter()
            .map(|row| {
                let directory::Membership { channel, from, role, heading, .. } = row;
                (Membership { channel, from, kind: heading.kind, role }, heading.version)
            })
            .collect();
    }

    /// What was read has come.
    pub(super) fn loaded(&mut self, world: &mut World) {
        if let Some((ticket, read)) = self.loading.take() {
            world.delivery.loaded(self.bob, ticket, read);
        }
    }

    /// Gone.
    pub(super) fn depart(self, world: &mut World) {
        world.delivery.depart(self.bob, self.id);
    }

    /// What it enters with: channel, and the first visible seq.
    pub(super) fn enter(&self, world: &mut World) -> Vec<(ChannelNo, Seq)> {
        let list = world.delivery.enter(self.bob, self.id).unwrap();
        list.into_iter().map(|membership| (membership.channel, membership.from)).collect()
    }

    /// A replay is written: the channel goes live.
    fn start(&self, world: &mut World, channel: ChannelNo, seq: u64) {
        let now = world.tools.clock.now();
        world.delivery.connections.start(channel, self.id, Seq::new(seq), now);
    }

    /// The events that came live, one's own log not counted.
    pub(super) fn heard(&mut self, world: &mut World) -> Vec<(ChannelNo, Seq)> {
        let now = world.tools.clock.now();
        while world.delivery.connections.turn(now).more {}
        let events = self.client.got().into_iter().map(|got| match got {
            Got::Event(channel, seq) => (ChannelNo::new(channel), Seq::new(seq)),
            other => panic!("{other:?}"),
        });
        events.filter(|(channel, _)| channel.self_user().is_none()).collect()
    }
}

pub(super) fn events(channel: ChannelNo, seqs: &[u64]) -> Vec<(ChannelNo, Seq)> {
    seqs.iter().map(|seq| (channel, Seq::new(*seq))).collect()
}

#[test]
fn a_channel_is_either_in_the_list_that_is_told_or_comes_live_behind_it() {
    let mut world = World::new(Commit::Auto);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let own = (ChannelNo::self_of(bob), Seq::new(1));
    let mut device = Device::arrive(&mut world, bob);
    let early = world.group(alice, &[bob]);
    assert_eq!(device.enter(&mut world), [own, (early, Seq::new(1))]);
    assert_eq!(device.heard(&mut world), [], "it will be replayed");
    let late = world.group(alice, &[bob]);
    world.sent(alice, early);
    world.sent(alice, late);
    assert_eq!(device.heard(&mut world), [], "the list is being told");
    device.start(&mut world, early, 2);
    assert_eq!(device.heard(&mut world), events(early, &[2]));
    world.delivery.told(bob, device.id);
    assert_eq!(device.heard(&mut world), events(late, &[1, 2]), "all of it, once");
    let live = world.group(alice, &[bob]);
    assert_eq!(device.heard(&mut world), events(live, &[1]), "at once");
    // Another device of theirs, while this one is here.
    let mut other = Device::arrive(&mut world, bob);
    let meanwhile = world.group(alice, &[bob]);
    assert_eq!(device.heard(&mut world), events(meanwhile, &[1]));
    assert_eq!(other.enter(&mut world).len(), 5);
    assert_eq!(other.heard(&mut world), []);
}

#[test]
fn who_is_removed_while_being_told_gets_the_removal_and_nothing_after_it() {
    let mut world = World::new(Commit::Auto);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let channel = world.group(alice, &[bob]);
    let mut device = Device::arrive(&mut world, bob);
    device.enter(&mut world);
    world.sent(alice, channel);
    world.changed(alice, channel, ChangeKind::Remove(bob));
    world.sent(alice, channel);
    assert_eq!(world.delivery.membership(bob, channel), None);
    device.start(&mut world, channel, 2);
    world.sent(alice, channel);
    device.start(&mut world, ChannelNo::self_of(bob), 2);
    world.delivery.told(bob, device.id);
    assert_eq!(device.heard(&mut world), events(channel, &[2, 3]));
    assert_eq!(world.delivery.connections.log_bytes(), 0, "nothing is held for them");
}

#[test]
fn who_is_removed_and_added_again_while_being_told_gets_nothing_of_the_time_between() {
    let mut world = World::new(Commit::Auto);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let channel = world.group(alice, &[bob]);
    let mut device = Device::arrive(&mut world, bob);
    device.enter(&mut world);
    world.changed(alice, channel, ChangeKind::Remove(bob));
    world.sent(alice, channel);
    world.changed(alice, channel, ChangeKind::Add(joining(&[bob], None)));
    world.sent(alice, channel);
    // As the replay planned it, which knew nothing of all that.
    device.start(&mut world, channel, 2);
    world.delivery.told(bob, device.id);
    assert_eq!(device.heard(&mut world), events(channel, &[4, 5]));
}
