//! More than can be done: what is new is refused with a time, what was taken in is done.

use std::time::Duration;

use damso_proto::id::{ChannelNo, Seq};

use super::kit::World;
use crate::delivery::{Answer, ChangeKind, Outcome, Refusal, Submission, Work};
use crate::model::deadline::Deadline;
use crate::model::limits;
use crate::model::memory::Level;
use crate::runtime::door::Door;
use crate::store::directory::kit::joining;
use crate::store::memory::Commit;

fn is_overloaded(outcome: &Outcome) -> bool {
    *outcome == Err(Refusal::Overloaded { after: limits::OVERLOADED_RETRY })
}

fn seqs(answered: &[(u64, Outcome)]) -> Vec<Seq> {
    let seq = |(_, outcome): &(u64, Outcome)| match outcome {
        Ok(Answer::Sent { seq, duplicate: false, .. }) => *seq,
        other => panic!("not sent: {other:?}"),
    };
    answered.iter().map(seq).collect()
}

#[test]
fn behind_work_that_stays_late_new_messages_are_refused_and_the_old_ones_leave_in_order() {
    let mut world = World::new(Commit::Stepped);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let channel = world.group(alice, &[]);
    let elsewhere = world.group(bob, &[]);
    let send = |world: &mut World| {
        let key = world.key(alice, "message");
        let message = world.message(key, Deadline::NONE);
        world.delivery.submit(channel, Work::Event(message));
        world.turn()
    };
    // One is with the committer, which does not come back; the others wait for it.
    for _ in 0..3 {
        assert_eq!(send(&mut world), []);
    }
    world.clock.advance(limits::WAITING_AGE_MAX + limits::WAITING_LATE_MAX / 2);
    assert_eq!(send(&mut world), [], "late, but not for so long");
    world.clock.advance(limits::WAITING_LATE_MAX / 2);
    let refused = send(&mut world);
    assert!(matches!(&refused[..], [(_, outcome)] if is_overloaded(outcome)), "{refused:?}");
    // Elsewhere nothing is late; and a command is no message.
    let key = world.key(bob, "message");
    let message = world.message(key, Deadline::NONE);
    world.delivery.submit(elsewhere, Work::Event(message));
    assert_eq!(world.turn(), []);
    let key = world.key(alice, "add");
    let add = world.change(key, ChangeKind::Add(joining(&[bob], None)), Deadline::NONE);
    world.delivery.submit(channel, add);
    assert_eq!(world.turn(), []);
    let (added, sent): (Vec<_>, Vec<_>) =
        world.settle().into_iter().partition(|(_, outcome)| matches!(outcome, Ok(Answer::Done(_))));
    assert_eq!(added.len(), 1);
    let mut of_both = seqs(&sent);
    of_both.sort_unstable();
    assert_eq!(of_both, [2, 2, 3, 4, 5].map(Seq::new), "four here, one elsewhere");
    assert_eq!(world.head(channel), Seq::new(6));
    assert_eq!(send(&mut world), [], "nothing waits any more");
    assert_eq!(seqs(&world.settle()), [Seq::new(7)]);
}

#[test]
fn a_slow_disk_that_takes_all_that_waits_each_time_is_no_overload() {
    let mut world = World::new(Commit::Stepped);
    let alice = world.person("alice");
    let channel = world.group(alice, &[]);
    let mut taken = 0;
    for _ in 0..40 {
        for _ in 0..5 {
            let key = world.key(alice, "message");
            let message = world.message(key, Deadline::NONE);
            world.delivery.submit(channel, Work::Event(message));
            assert_eq!(world.turn(), []);
            world.clock.advance(Duration::from_millis(60));
        }
        world.log.commit_next();
        taken += seqs(&world.turn()).len();
    }
    taken += seqs(&world.settle()).len();
    assert_eq!(taken, 200);
}

#[test]
fn so_much_waits_on_a_shard_and_no_more() {
    let (door, steps) = Door::stepped(limits::DOOR_WAITING_MAX);
    let mut world = World::with_door(Commit::Auto, door);
    let alice = world.person("alice");
    let (mut sent, mut refused) = (0, 0);
    // Channels that are being opened: nothing leaves.
    for number in (2..).step_by(2).take(20) {
        for _ in 0..1_000 {
            let key = world.key(alice, "message");
            let message = world.message(key, Deadline::NONE);
            world.delivery.submit(ChannelNo::new(number), Work::Event(message));
            sent += 1;
        }
        let answered = world.turn();
        assert!(answered.iter().all(|(_, outcome)| is_overloaded(outcome)));
        refused += answered.len();
    }
    assert_eq!(sent - refused, limits::SHARD_WAITING_MAX);
    // None of them is there: all that waited is answered, and there is room again.
    while let Some(step) = steps.take(0) {
        step.run().deliver();
    }
    let answered = world.turn();
    assert_eq!(answered.len(), limits::SHARD_WAITING_MAX);
    assert!(answered.iter().all(|(_, outcome)| *outcome == Err(Refusal::NotFound)));
    let key = world.key(alice, "message");
    let message = world.message(key, Deadline::NONE);
    world.delivery.submit(ChannelNo::new(2), Work::Event(message));
    assert_eq!(world.turn(), [], "it waits");
}

#[test]
fn a_shard_that_takes_its_mail_late_for_long_takes_no_new_messages() {
    let mut world = World::new(Commit::Auto);
    let alice = world.person("alice");
    let channel = world.group(alice, &[]);
    let message = |world: &mut World| {
        let key = world.key(alice, "message");
        world.message(key, Deadline::NONE)
    };
    let take = |world: &mut World, message: Submission| {
        world.delivery.submit(channel, Work::Event(message));
        world.turn().remove(0).1
    };
    // Each is 300 ms on its way, and the next has begun before it has come.
    let mut next = message(&mut world);
    let outcomes: Vec<_> = (0..4)
        .map(|_| {
            world.clock.advance(Duration::from_millis(150));
            let after = message(&mut world);
            world.clock.advance(Duration::from_millis(150));
            take(&mut world, std::mem::replace(&mut next, after))
        })
        .collect();
    assert!(outcomes[..3].iter().all(Result::is_ok), "{outcomes:?}");
    assert!(is_overloaded(&outcomes[3]));
    let quick = message(&mut world);
    assert!(take(&mut world, quick).is_ok(), "it has caught up");
    // One at a time, however late each is, leaves a break.
    for _ in 0..8 {
        let alone = message(&mut world);
        world.clock.advance(Duration::from_millis(300));
        assert!(take(&mut world, alone).is_ok());
    }
}

#[test]
fn without_memory_no_message_begins_but_what_is_known_is_answered_and_people_can_be_put_out() {
    let mut world = World::new(Commit::Auto);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let channel = world.group(alice, &[bob]);
    let known = world.key(alice, "known");
    let message = world.message(known, Deadline::NONE);
    assert!(world.outcome(channel, Work::Event(message)).is_ok());
    world.tools.memory.set(Level::Full);
    let key = world.key(alice, "new");
    let message = world.message(key, Deadline::NONE);
    let refused = Err(Refusal::Overloaded { after: limits::MEMORY_RETRY });
    assert_eq!(world.outcome(channel, Work::Event(message)), refused);
    let again = world.message(known, Deadline::NONE);
    let again = world.outcome(channel, Work::Event(again));
    assert!(matches!(again, Ok(Answer::Sent { duplicate: true, .. })), "{again:?}");
    let remove = world.key(alice, "remove");
    let remove = world.change(remove, ChangeKind::Remove(bob), Deadline::NONE);
    assert!(world.outcome(channel, remove).is_ok());
    world.tools.memory.set(Level::Scarce);
    let message = world.message(key, Deadline::NONE);
    assert!(world.outcome(channel, Work::Event(message)).is_ok());
}
