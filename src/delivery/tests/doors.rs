//! Blocking work that cannot be had, or that fails: whoever waits for it is told so.

use damso_proto::id::ChannelNo;

use super::kit::World;
use crate::delivery::{ChangeKind, Mail, Outcome, Refusal, Work};
use crate::model::deadline::Deadline;
use crate::model::rights::Actor;
use crate::runtime::door::{Done, Door, Steps};
use crate::store::directory::kit::{Short as _, joining};
use crate::store::directory::{Command, Directory as _};
use crate::store::log::NewKey;
use crate::store::memory::Commit;

/// A world in which a command on a group waits for the group to be opened, with that work.
fn opening() -> (World, Door, Steps, Done) {
    let (door, steps) = Door::stepped(1);
    let mut world = World::with_door(Commit::Auto, door.clone());
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let NewKey { user, key, body } = world.key(alice, "group");
    let command = Command { by: Actor::User(user), key, body, now_ms: 0 };
    let done = world.directory.create_group(&command, "g", &[]).unwrap();
    let rows: Vec<_> = done.rows.iter().map(|row| row.id).collect();
    world.directory.outbox_done(&rows, &[]).unwrap();
    let key = world.key(alice, "bob");
    let change = world.change(key, ChangeKind::Add(joining(&[bob], None)), Deadline::NONE);
    world.delivery.submit(done.channel, change);
    assert_eq!(world.turn(), []);
    let opened = steps.take(0).expect("the group is opened").run();
    (world, door, steps, opened)
}

fn only(answered: Vec<(u64, Outcome)>) -> Outcome {
    let [(_, outcome)] = answered.try_into().expect("one answer");
    outcome
}

#[test]
fn a_command_that_finds_the_door_full_is_refused() {
    let (mut world, door, steps, opened) = opening();
    let other = door.call(|| ());
    opened.deliver();
    assert!(matches!(only(world.turn()), Err(Refusal::Unavailable { .. })));
    steps.take(0).expect("the other work").run().deliver();
    drop(other);
}

#[test]
fn a_command_whose_work_panics_is_answered_and_the_channel_goes_on() {
    let (mut world, _, steps, opened) = opening();
    opened.deliver();
    assert_eq!(world.turn(), []);
    drop(steps.take(0).expect("the directory is asked"));
    let channel = ChannelNo::new(2);
    world.mailbox.post(Mail::Failed(channel)).ok().expect("room");
    assert_eq!(only(world.turn()), Err(Refusal::OutcomeUnknown));
    let route = Some(world.route());
    world.delivery.submit(channel, Work::Settle { rows: Vec::new(), route });
    assert_eq!(world.turn(), []);
    steps.take(0).expect("it is opened again").run().deliver();
    assert!(only(world.turn()).is_ok());
}
