//! How often a channel takes messages: what is new waits for its turn, what is known never does.

use std::time::Duration;

use damso_proto::id::{ChannelNo, UserNo};

use super::kit::World;
use crate::delivery::{Admission, Answer, Change, ChangeKind, Outcome, Pace, Refusal, Work};
use crate::model::deadline::Deadline;
use crate::model::limits::SENDS_PER_CHANNEL;
use crate::model::rights::Actor;
use crate::store::directory::Directory as _;
use crate::store::directory::kit::joining;
use crate::store::log::NewKey;
use crate::store::memory::Commit;

/// The turn that a person was told who sends too fast.
const TURN: Duration = Duration::from_millis(70);

fn too_often(whose: Pace, after: Duration) -> Outcome {
    Err(Refusal::TooOften { whose, after })
}

fn is_duplicate(outcome: &Outcome) -> bool {
    matches!(outcome, Ok(Answer::Sent { duplicate: true, .. }))
}

/// Sends under this key, as one too many or not.
fn send(world: &mut World, channel: ChannelNo, key: NewKey, admission: Admission) -> Outcome {
    let mut message = world.message(key, Deadline::NONE);
    message.admission = admission;
    world.outcome(channel, Work::Event(message))
}

/// Fills a channel with all that it takes at once.
fn fill(world: &mut World, channel: ChannelNo, by: UserNo) -> Vec<NewKey> {
    let keys = (0..SENDS_PER_CHANNEL.burst).map(|_| {
        let key = world.key(by, "message");
        assert!(send(world, channel, key, Admission::Asked).is_ok());
        key
    });
    keys.collect()
}

#[test]
fn a_channel_takes_a_burst_and_then_as_many_a_second_as_it_says() {
    let mut world = World::new(Commit::Auto);
    let alice = world.person("alice");
    let channel = world.group(alice, &[]);
    let keys = fill(&mut world, channel, alice);
    let full = world.head(channel);
    for nth in 1..=3 {
        let key = world.key(alice, "too many");
        let after = Duration::from_millis(5 * nth);
        let refused = send(&mut world, channel, key, Admission::Asked);
        assert_eq!(refused, too_often(Pace::Channel, after), "each has a turn of its own");
    }
    assert_eq!(world.head(channel), full);
    for key in [keys[keys.len() - 1], keys[0]] {
        let again = send(&mut world, channel, key, Admission::Asked);
        assert!(is_duplicate(&again), "{again:?}");
    }
    let elsewhere = world.group(alice, &[]);
    world.sent(alice, elsewhere);
    world.clock.advance(Duration::from_secs(1));
    let mut taken = 0;
    loop {
        let key = world.key(alice, "later");
        match send(&mut world, channel, key, Admission::Asked) {
            Ok(_) => taken += 1,
            Err(_) => break,
        }
    }
    assert_eq!(taken, SENDS_PER_CHANNEL.per_second);
}

#[test]
fn what_the_directory_owes_a_full_channel_is_not_kept_waiting() {
    let mut world = World::new(Commit::Auto);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let channel = world.group(alice, &[]);
    fill(&mut world, channel, alice);
    let full = world.head(channel);
    world.changed(alice, channel, ChangeKind::Add(joining(&[bob], None)));
    assert_eq!(world.head(channel), full.next());
}

#[test]
fn a_message_that_is_one_too_many_of_its_sender_is_refused_unless_it_is_known() {
    let mut world = World::new(Commit::Stepped);
    let alice = world.person("alice");
    let channel = world.group(alice, &[]);
    let over = Admission::Over(TURN);
    let key = world.key(alice, "message");
    assert_eq!(send(&mut world, channel, key, over), too_often(Pace::Person, TURN));
    // A copy of one that is on its way is answered with it.
    let first = world.message(key, Deadline::NONE);
    world.delivery.submit(channel, Work::Event(first));
    assert!(world.turn().is_empty());
    let mut copy = world.message(key, Deadline::NONE);
    copy.admission = over;
    world.delivery.submit(channel, Work::Event(copy));
    let answered = world.settle();
    assert_eq!(answered.iter().filter(|(_, it)| is_duplicate(it)).count(), 1, "{answered:?}");
    assert_eq!(answered.len(), 2);
    assert!(is_duplicate(&send(&mut world, channel, key, over)));
    // What was refused for another reason is not counted as sent.
    let other = NewKey { body: world.key(alice, "other").body, ..key };
    assert_eq!(send(&mut world, channel, other, over), Err(Refusal::KeyReused));
}

#[test]
fn a_command_that_is_one_too_many_changes_nothing_unless_it_is_known() {
    let mut world = World::new(Commit::Auto);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let channel = world.group(alice, &[]);
    let key = world.key(alice, "add");
    let add = |world: &mut World, over: Option<Duration>| {
        let (route, deadline) = (world.route(), Deadline::NONE);
        let (by, what) = (Actor::User(alice), ChangeKind::Add(joining(&[bob], None)));
        world.outcome(channel, Work::Change(Change { by, what, key, route, deadline, over }))
    };
    assert_eq!(add(&mut world, Some(TURN)), too_often(Pace::Person, TURN));
    assert_eq!(world.directory.membership(bob, channel).unwrap(), None);
    let done = add(&mut world, None);
    assert!(matches!(done, Ok(Answer::Done(_))), "{done:?}");
    assert_eq!(add(&mut world, Some(TURN)), done);
}
