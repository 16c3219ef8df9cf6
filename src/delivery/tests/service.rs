//! Messages of the service: whose rights count, and which rates do not.

use damso_proto::id::{ChannelNo, UserNo};

use super::kit::World;
use crate::delivery::{Admission, Outcome, Refusal, Work};
use crate::model::deadline::Deadline;
use crate::model::limits::SENDS_PER_CHANNEL;
use crate::model::rights::Actor;
use crate::store::memory::Commit;

fn send(world: &mut World, channel: ChannelNo, by: Actor, sender: UserNo) -> Outcome {
    let key = world.key(by.number(), "message");
    let mut message = world.message(key, Deadline::NONE);
    message.by = by;
    message.event.sender = sender.get();
    message.admission = match by {
        Actor::User(_) => Admission::Asked,
        Actor::Service => Admission::Exempt,
    };
    world.outcome(channel, Work::Event(message))
}

#[test]
fn the_service_writes_wherever_people_do_and_as_often_as_it_likes() {
    let mut world = World::new(Commit::Auto);
    let alice = world.person("alice");
    let group = world.group(alice, &[]);
    for _ in 0..=SENDS_PER_CHANNEL.burst {
        let sent = send(&mut world, group, Actor::Service, UserNo::default());
        assert!(sent.is_ok(), "{sent:?}");
    }
    let hers = send(&mut world, group, Actor::User(alice), alice);
    assert!(hers.is_ok(), "none of it counted for the channel: {hers:?}");
    let own = ChannelNo::self_of(alice);
    let into_own = send(&mut world, own, Actor::Service, UserNo::default());
    assert_eq!(into_own, Err(Refusal::NotAllowed), "a person's own log is the server's alone");
}

#[test]
fn rights_are_those_of_who_sends_whatever_the_event_says() {
    let mut world = World::new(Commit::Auto);
    let (alice, mallory) = (world.person("alice"), world.person("mallory"));
    let group = world.group(alice, &[]);
    for sender in [alice, UserNo::default()] {
        let forged = send(&mut world, group, Actor::User(mallory), sender);
        assert_eq!(forged, Err(Refusal::NotFound), "{sender}");
    }
}
