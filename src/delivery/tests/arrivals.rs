//! A connection that comes while its person's channels change hears of each change once.

use damso_proto::id::{ChannelNo, Seq, UserNo};

use super::kit::World;
use crate::connections::tests::kit::{Client, Got, ROOMY};
use crate::delivery::{Arrival, ChangeKind, Membership};
use crate::runtime::route::ConnectionId;
use crate::store::directory::Directory as _;
use crate::store::memory::Commit;

/// Bob's device, on its way in.
struct Device {
    id: ConnectionId,
    client: Client,
    bob: UserNo,
}

impl Device {
    /// Arrived, with the person's channels read.
    fn arrive(world: &mut World, bob: UserNo) -> Self {
        let (wire, client) = Client::connected(ROOMY);
        let now = world.tools.clock.now();
        let id = world.delivery.connections.enter(wire, now);
        if let Arrival::Load(ticket) = world.delivery.arrive(bob, id) {
            let read = world.directory.memberships(bob, ChannelNo::default(), 100).unwrap();
            let read = read.into_iter().map(|row| Membership {
                channel: row.channel,
                from: row.from,
                kind: row.kind,
                role: row.role,
            });
            world.delivery.loaded(bob, ticket, read.collect());
        }
        Self { id, client, bob }
    }

    /// What it enters with: channel, and the first visible seq.
    fn enter(&self, world: &mut World) -> Vec<(ChannelNo, Seq)> {
        let list = world.delivery.enter(self.bob, self.id).unwrap();
        list.into_iter().map(|membership| (membership.channel, membership.from)).collect()
    }

    /// A replay is written: the channel goes live.
    fn start(&self, world: &mut World, channel: ChannelNo, seq: u64) {
        let now = world.tools.clock.now();
        world.delivery.connections.start(channel, self.id, Seq::new(seq), now);
    }

    /// The events that came live, one's own log not counted.
    fn heard(&mut self, world: &mut World) -> Vec<(ChannelNo, Seq)> {
        let now = world.tools.clock.now();
        while world.delivery.connections.turn(now).more {}
        let events = self.client.got().into_iter().map(|got| match got {
            Got::Event(channel, seq) => (ChannelNo::new(channel), Seq::new(seq)),
            other => panic!("{other:?}"),
        });
        events.filter(|(channel, _)| channel.self_user().is_none()).collect()
    }
}

fn events(channel: ChannelNo, seqs: &[u64]) -> Vec<(ChannelNo, Seq)> {
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
    world.changed(alice, channel, ChangeKind::Add(bob));
    world.sent(alice, channel);
    // As the replay planned it, which knew nothing of all that.
    device.start(&mut world, channel, 2);
    world.delivery.told(bob, device.id);
    assert_eq!(device.heard(&mut world), events(channel, &[4, 5]));
}
