//! Changes of rights of which no event tells.

use std::sync::Arc;

use damso_proto::id::{ChannelNo, Seq, UserNo};

use super::arrivals::{Device, events};
use super::kit::World;
use crate::delivery::{Answer, ChangeKind, Mail, Refusal, Work};
use crate::model::deadline::Deadline;
use crate::model::rights::{Actor, Kind, RightsChange, RightsDelta, Role, Sight};
use crate::runtime::route::ShardNo;
use crate::store::directory::kit::{Short as _, joining};
use crate::store::directory::{Command, Directory as _};
use crate::store::log::NewKey;
use crate::store::memory::Commit;

fn broadcast(world: &mut World, owner: UserNo) -> ChannelNo {
    let NewKey { user, key, body } = world.key(owner, "broadcast");
    let command = Command { by: Actor::User(user), key, body, now_ms: 0 };
    let done = world.directory.create_broadcast(&command, &[]).unwrap();
    let work = Work::Settle { rows: done.rows, route: Some(world.route()) };
    assert!(world.outcome(done.channel, work).is_ok());
    done.channel
}

/// Carries a change out; the channel's last seq as it took effect.
fn changed(world: &mut World, by: UserNo, channel: ChannelNo, what: ChangeKind) -> Seq {
    let key = world.key(by, "change");
    let work = world.change(key, what, Deadline::NONE);
    match world.outcome(channel, work) {
        Ok(Answer::Done(seq)) => seq,
        other => panic!("{other:?}"),
    }
}

fn add(user: UserNo) -> ChangeKind {
    ChangeKind::Add(joining(&[user], None))
}

#[test]
fn a_reader_hears_what_comes_between_coming_and_going_and_no_word_of_either() {
    let mut world = World::new(Commit::Auto);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let channel = broadcast(&mut world, alice);
    let mut device = Device::arrive(&mut world, bob);
    device.enter(&mut world);
    world.delivery.told(bob, device.id);
    world.sent(alice, channel);
    assert_eq!(changed(&mut world, alice, channel, add(bob)), Seq::new(2));
    assert_eq!(world.head(channel), Seq::new(2), "nothing was appended");
    world.sent(alice, channel);
    assert_eq!(changed(&mut world, alice, channel, ChangeKind::Remove(bob)), Seq::new(3));
    world.sent(alice, channel);
    assert_eq!(device.heard(&mut world), events(channel, &[3]));
    // In and out at one place, and in again.
    changed(&mut world, alice, channel, add(bob));
    changed(&mut world, bob, channel, ChangeKind::Remove(bob));
    assert_eq!(world.delivery.membership(bob, channel), None);
    changed(&mut world, alice, channel, add(bob));
    assert!(world.delivery.membership(bob, channel).is_some());
    world.sent(alice, channel);
    assert_eq!(device.heard(&mut world), events(channel, &[5]));
}

#[test]
fn whoever_is_read_from_the_directory_meanwhile_is_what_the_directory_says() {
    let mut world = World::new(Commit::Auto);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let channel = broadcast(&mut world, alice);
    changed(&mut world, alice, channel, add(bob));
    // Removed and added again at one place, before the directory is read for them and after.
    let mut late = Device::loading(&mut world, bob);
    changed(&mut world, alice, channel, ChangeKind::Remove(bob));
    late.read(&mut world);
    changed(&mut world, alice, channel, add(bob));
    late.loaded(&mut world);
    assert!(world.delivery.membership(bob, channel).is_some());
    changed(&mut world, alice, channel, ChangeKind::Remove(bob));
    assert!(world.delivery.membership(bob, channel).is_none());
    let (_, again) = (late.depart(&mut world), Device::loading(&mut world, bob));
    let mut again = again;
    changed(&mut world, alice, channel, add(bob));
    changed(&mut world, alice, channel, ChangeKind::Remove(bob));
    again.read(&mut world);
    again.loaded(&mut world);
    assert!(world.delivery.membership(bob, channel).is_none());
}

#[test]
fn roles_decide_who_writes_and_hold_at_once() {
    let mut world = World::new(Commit::Auto);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let channel = broadcast(&mut world, alice);
    changed(&mut world, alice, channel, add(bob));
    let write = |world: &mut World| {
        let key = world.key(bob, "message");
        let message = world.message(key, Deadline::NONE);
        world.outcome(channel, Work::Event(message))
    };
    // Of readers the channel's owner knows nothing; their home tells them why.
    assert_eq!(write(&mut world), Err(Refusal::NotFound));
    changed(&mut world, alice, channel, ChangeKind::SetRole(bob, Role::Member));
    assert!(matches!(write(&mut world), Ok(Answer::Sent { .. })));
    changed(&mut world, alice, channel, ChangeKind::SetRole(bob, Role::Reader));
    assert_eq!(write(&mut world), Err(Refusal::NotFound));
    let key = world.key(bob, "change");
    let work = world.change(key, add(bob), Deadline::NONE);
    assert_eq!(world.outcome(channel, work), Err(Refusal::NotAllowed));
}

#[test]
fn sends_wait_until_every_shard_has_applied_the_change() {
    let mut world = World::new(Commit::Stepped);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let channel = broadcast(&mut world, alice);
    let (change, message) = (world.key(alice, "change"), world.key(alice, "message"));
    let work = world.change(change, add(bob), Deadline::NONE);
    world.delivery.submit(channel, work);
    let message = world.message(message, Deadline::NONE);
    world.delivery.submit(channel, Work::Event(message));
    // The command is decided, and the shards are told.
    world.delivery.deliver();
    world.delivery.deliver();
    world.delivery.send_off();
    let mut told = Vec::new();
    world.mailbox.take(&mut told);
    let row = told.iter().find_map(|mail| match mail {
        Mail::Rights(rights) => Some(rights.row),
        _ => None,
    });
    let row = row.expect("a change to be applied");
    world.turn();
    assert_eq!(world.log.commit_next().map(drop), None, "nothing of the channel is under way");
    // Word of another change, or of a shard that there is not, does not count.
    let by = ShardNo::new(0);
    let applied = |row, by| Mail::RightsApplied { channel, row, by };
    let other = crate::store::directory::OutboxId(row.0 + 77);
    drop(world.mailbox.post(applied(other, by)));
    drop(world.mailbox.post(applied(row, ShardNo::new(7))));
    world.turn();
    assert!(world.log.commit_next().is_none());
    told.into_iter().for_each(|mail| drop(world.mailbox.post(mail)));
    assert_eq!(world.settle().len(), 2, "both are answered");
    assert_eq!(world.head(channel), Seq::new(2));
}

#[test]
fn what_a_crash_left_untold_is_told_before_anything_else() {
    let mut world = World::new(Commit::Auto);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let channel = broadcast(&mut world, alice);
    let mut device = Device::arrive(&mut world, bob);
    device.enter(&mut world);
    world.delivery.told(bob, device.id);
    // The directory decided; the process that was to tell it is gone, and so is its channel.
    let NewKey { user, key, body } = world.key(alice, "change");
    let command = Command { by: Actor::User(user), key, body, now_ms: 0 };
    world.directory.add_member(&command, channel, bob, Seq::new(2)).unwrap();
    world.forget_channels();
    world.sent(alice, channel);
    assert_eq!(device.heard(&mut world), events(channel, &[2]));
    assert_eq!(world.directory.outbox_of(channel).unwrap(), []);
}

#[test]
fn a_change_that_is_told_twice_is_the_same_as_once() {
    let mut world = World::new(Commit::Auto);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let channel = broadcast(&mut world, alice);
    let mut device = Device::arrive(&mut world, bob);
    device.enter(&mut world);
    world.delivery.told(bob, device.id);
    let people = vec![RightsDelta::Added(bob, Role::Reader, Sight::FromHere)];
    let change = Arc::new(RightsChange { kind: Kind::Broadcast, version: 2, people });
    for _ in 0..2 {
        let (row, change) = (crate::store::directory::OutboxId(9), change.clone());
        let rights = crate::delivery::Rights { channel, row, at: Seq::new(2), change };
        drop(world.mailbox.post(Mail::Rights(rights)));
        world.turn();
    }
    world.sent(alice, channel);
    assert_eq!(device.heard(&mut world), events(channel, &[2]));
}
