//! A message answers something that is there and its sender's to see, or nothing.

use damso_proto::id::{ChannelNo, UserNo};

use super::kit::World;
use crate::delivery::{Answer, ChangeKind, Refusal, Work};
use crate::model::deadline::Deadline;
use crate::model::draft::Invalid;
use crate::model::limits;
use crate::store::directory::kit::joining;
use crate::store::memory::Commit;

const WRONG: Refusal = Refusal::Invalid(Invalid::Value { field: "reply_to" });

/// Whether a message of `user` that answers `reply_to` is taken.
fn may(world: &mut World, user: UserNo, channel: ChannelNo, reply_to: u64) -> bool {
    let (key, head) = (world.key(user, "reply"), world.head(channel));
    let mut message = world.message(key, Deadline::NONE);
    message.event.reply_to = reply_to;
    match world.outcome(channel, Work::Event(message)) {
        Ok(Answer::Sent { seq, .. }) => {
            assert_eq!(seq, head.next());
            true
        }
        Err(refusal) => {
            assert_eq!((refusal, world.head(channel)), (WRONG, head));
            false
        }
        Ok(other) => panic!("{other:?}"),
    }
}

fn check(world: &mut World, channel: ChannelNo, user: UserNo, from: u64) {
    assert!(may(world, user, channel, 0), "no answer to anything");
    assert!(may(world, user, channel, from), "the first that one sees");
    assert_eq!(may(world, user, channel, from - 1), from == 1, "what was before one's time");
    let head = world.head(channel).get();
    assert!(may(world, user, channel, head), "the newest");
    for above in [head + 2, head + 100, u64::MAX] {
        assert!(!may(world, user, channel, above), "{above} is not there yet");
    }
}

#[test]
fn a_reply_names_what_is_there_and_what_its_sender_may_see() {
    let mut world = World::new(Commit::Auto);
    let (alice, bob) = (world.person("alice"), world.person("bob"));
    let channel = world.group(alice, &[]);
    check(&mut world, channel, alice, 1);
    world.changed(alice, channel, ChangeKind::Add(joining(&[bob], None)));
    let from = world.head(channel).get();
    check(&mut world, channel, bob, from);
    world.changed(alice, channel, ChangeKind::Remove(bob));
    world.changed(alice, channel, ChangeKind::Add(joining(&[bob], None)));
    let again = world.head(channel).get();
    assert!(!may(&mut world, bob, channel, from), "from one's time before that");
    check(&mut world, channel, bob, again);
    // The same from the directory, once the channel was dropped from memory.
    world.clock.advance(2 * limits::OWNED_CHANNEL_IDLE);
    world.turn();
    assert_eq!(world.delivery.counts().1, 0);
    check(&mut world, channel, bob, again);
    check(&mut world, channel, alice, 1);
}

#[test]
fn a_repetition_is_answered_as_at_first_whatever_it_answers() {
    let mut world = World::new(Commit::Auto);
    let alice = world.person("alice");
    let channel = world.group(alice, &[]);
    let key = world.key(alice, "reply");
    let send = |world: &mut World, reply_to| {
        let mut message = world.message(key, Deadline::NONE);
        message.event.reply_to = reply_to;
        world.outcome(channel, Work::Event(message))
    };
    assert_eq!(send(&mut world, 9), Err(WRONG));
    assert!(matches!(send(&mut world, 1), Ok(Answer::Sent { duplicate: false, .. })));
    // The key stands for a body, which the hash tells; what it named is not looked at again.
    assert!(matches!(send(&mut world, 9), Ok(Answer::Sent { duplicate: true, .. })));
}
