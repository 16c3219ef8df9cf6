//! What comes too late is surely not carried out, and a repetition is never too late.

use std::time::Duration;

use damso_proto::id::{Key, Seq};

use super::kit::{BEGIN_MS, World};
use crate::delivery::{Answer, ChangeKind, Outcome, Refusal, Work};
use crate::model::deadline::Deadline;
use crate::store::directory::Directory as _;
use crate::store::directory::kit::joining;
use crate::store::log::NewKey;
use crate::store::memory::Commit;

/// How long the clock goes on between arrival and work.
const LATE: Duration = Duration::from_millis(6);

fn sent(outcome: Outcome) -> (Seq, bool) {
    match outcome {
        Ok(Answer::Sent { seq, duplicate, .. }) => (seq, duplicate),
        other => panic!("not sent: {other:?}"),
    }
}

#[test]
fn a_message_that_would_leave_too_late_is_refused_and_its_key_stays_good() {
    let mut world = World::new(Commit::Auto);
    let alice = world.person("alice");
    let channel = world.group(alice, &[]);
    let young = world.key(alice, "young");
    // Older than what is read when a channel is opened: the store has to be asked.
    let old = NewKey { key: Key::new(BEGIN_MS - 600_000, [3; 10]), ..young };
    for key in [young, old] {
        let send = |world: &mut World, deadline: Deadline| {
            let message = world.message(key, deadline);
            world.delivery.submit(channel, Work::Event(message));
            world.clock.advance(LATE);
            world.turn().remove(0).1
        };
        let head = world.head(channel);
        let five = world.within(5);
        assert_eq!(send(&mut world, five), Err(Refusal::Deadline));
        assert_eq!(world.head(channel), head, "nothing was stored");
        let six = world.within(6);
        assert_eq!(sent(send(&mut world, six)), (head.next(), false), "in its last moment");
        let five = world.within(5);
        assert_eq!(sent(send(&mut world, five)), (head.next(), true), "begins nothing");
    }
}

#[test]
fn a_message_that_waits_for_the_run_before_it_can_come_too_late() {
    let mut world = World::new(Commit::Stepped);
    let alice = world.person("alice");
    let channel = world.group(alice, &[]);
    let keys = ["first", "second", "third"].map(|body| world.key(alice, body));
    let deadlines = [world.within(5), world.within(5), Deadline::NONE];
    for (key, deadline) in keys.into_iter().zip(deadlines) {
        let message = world.message(key, deadline);
        world.delivery.submit(channel, Work::Event(message));
        assert!(world.turn().is_empty(), "the first is with the committer, the others wait");
    }
    world.clock.advance(LATE);
    world.log.commit_next();
    let answered = world.turn();
    assert_eq!(sent(answered[0].1.clone()), (Seq::new(2), false), "it was begun in time");
    assert_eq!(answered[1].1, Err(Refusal::Deadline));
    world.log.commit_next();
    assert_eq!(sent(world.turn().remove(0).1), (Seq::new(3), false));
}

#[test]
fn a_command_that_would_begin_too_late_is_refused_and_changes_nothing() {
    let mut world = World::new(Commit::Auto);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let channel = world.group(alice, &[]);
    let key = world.key(alice, "add");
    let add = |world: &mut World, ms: u32| {
        let deadline = world.within(ms);
        let work = world.change(key, ChangeKind::Add(joining(&[bob], None)), deadline);
        world.delivery.submit(channel, work);
        world.clock.advance(LATE);
        world.turn().remove(0).1
    };
    assert_eq!(add(&mut world, 5), Err(Refusal::Deadline));
    assert_eq!(world.directory.membership(bob, channel).unwrap(), None);
    assert_eq!(add(&mut world, 6), Ok(Answer::Done(Seq::new(2))));
    assert!(world.directory.membership(bob, channel).unwrap().is_some());
    assert_eq!(add(&mut world, 5), Ok(Answer::Done(Seq::new(2))), "begins nothing");
}
