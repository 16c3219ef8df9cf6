//! Handlers over stores in memory, with a clock that stands.

use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use damso_proto::id::{ChannelNo, Key, Uid};
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Asked;

use super::{Envelope, Floors, Refusal, Reply, handle};
use crate::delivery::tests::kit::World;
use crate::delivery::{self, Tools};
use crate::model::deadline::Deadline;
use crate::model::rights::Actor;
use crate::runtime::clock::{Clock as _, ManualClock};
use crate::runtime::door::Door;
use crate::runtime::route::Route;
use crate::store::directory::{Directory as _, Sqlite};
use crate::store::memory::Commit;

/// Some request's deadline, in milliseconds.
const SOON: u32 = 5;

struct Scene {
    floors: Floors,
    clock: Arc<ManualClock>,
    directory: Arc<Sqlite>,
    actor: Actor,
    route: Route,
    key: Key,
}

impl Scene {
    fn new(door: Door) -> Self {
        let mut world = World::new(Commit::Auto);
        let user = world.person("alice");
        let (route, key) = (world.route(), world.key(user, "any").key);
        let World { delivery, tools, clock, directory, .. } = world;
        let floors = Floors::new(delivery, Tools { door, ..tools });
        Self { floors, clock, directory, actor: Actor::User(user), route, key }
    }

    fn from(&self, deadline: Deadline) -> Envelope {
        Envelope { route: self.route, key: Some(self.key), deadline, over: None }
    }

    /// Runs a handler for what is one too many.
    fn over(&self, asked: Asked) -> Result<Reply, Refusal> {
        let over = Some(Duration::from_millis(70));
        self.handled(Envelope { over, ..self.from(Deadline::NONE) }, asked)
    }

    /// A deadline that is past already, or is not.
    fn deadline(&self, late: bool) -> Deadline {
        let deadline = Deadline::after(self.clock.now(), SOON);
        let by = if late { SOON + 1 } else { SOON };
        self.clock.advance(Duration::from_millis(by.into()));
        deadline
    }

    /// Runs a handler, and turns while it waits.
    fn answer(&self, late: bool, asked: Asked) -> Result<Reply, Refusal> {
        self.handled(self.from(self.deadline(late)), asked)
    }

    fn handled(&self, from: Envelope, asked: Asked) -> Result<Reply, Refusal> {
        let mut handling = pin!(handle(self.actor, from, asked, &self.floors));
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..64 {
            if let Poll::Ready(reply) = handling.as_mut().poll(&mut cx) {
                return reply;
            }
            let answers = {
                let mut delivery = self.floors.delivery.borrow_mut();
                delivery.deliver();
                delivery.take_answers()
            };
            for (route, outcome) in answers {
                assert_eq!(self.floors.settle(route, outcome), None);
            }
        }
        panic!("the handler waits for something that does not come");
    }
}

fn is_late<T>(outcome: &Result<T, Refusal>) -> bool {
    matches!(outcome, Err(Refusal::Delivery(delivery::Refusal::Deadline)))
}

#[test]
fn no_handler_begins_after_the_deadline() {
    let scene = Scene::new(Door::inline());
    let channel = ChannelNo::self_of(scene.actor.number()).get();
    let make = wire::CreateChannel { name: "g".to_owned(), uids: Vec::new(), ..Default::default() };
    for asked in [
        Asked::ReadHistory(wire::ReadHistory { channel, ..Default::default() }),
        Asked::ReadOutcome(wire::ReadOutcome::default()),
        Asked::ListChannels(wire::ListChannels::default()),
        Asked::FindPeople(wire::FindPeople::default()),
        Asked::CreateChannel(make),
    ] {
        let late = scene.answer(true, asked.clone());
        assert!(is_late(&late), "{asked:?}: {late:?}");
        let in_time = scene.answer(false, asked.clone());
        assert!(in_time.is_ok(), "{asked:?}: {in_time:?}");
    }
}

#[test]
fn what_is_one_too_many_is_told_its_turn_unless_it_is_a_repetition() {
    let scene = Scene::new(Door::inline());
    let is_refused = |reply: &Result<Reply, Refusal>| match reply {
        Err(Refusal::Delivery(delivery::Refusal::TooOften { whose, after })) => {
            *whose == delivery::Pace::Person && *after == Duration::from_millis(70)
        }
        _ => false,
    };
    let channel = ChannelNo::self_of(scene.actor.number()).get();
    for asked in [
        Asked::ReadHistory(wire::ReadHistory { channel, ..Default::default() }),
        Asked::ReadOutcome(wire::ReadOutcome::default()),
        Asked::ListChannels(wire::ListChannels::default()),
        Asked::FindPeople(wire::FindPeople::default()),
    ] {
        let reply = scene.over(asked.clone());
        assert!(is_refused(&reply), "{asked:?}: {reply:?}");
    }
    let make = Asked::CreateChannel(wire::CreateChannel {
        name: "g".to_owned(),
        uids: Vec::new(),
        ..Default::default()
    });
    assert!(is_refused(&scene.over(make.clone())));
    let made = scene.answer(false, make.clone()).expect("a channel");
    assert_eq!(scene.over(make).expect("the same one"), made);
}

#[test]
fn a_channel_that_was_asked_for_too_late_is_not_made_and_a_repetition_finds_the_one_that_was() {
    let scene = Scene::new(Door::inline());
    let bob = wire::OpenDirect { uid: "bob".to_owned() };
    scene.directory.find_or_make_user(&Uid::parse("bob").unwrap(), 0).unwrap();
    let mine = || {
        let user = scene.actor.number();
        scene.directory.memberships(user, ChannelNo::default(), 9).unwrap().len()
    };
    assert!(is_late(&scene.answer(true, Asked::OpenDirect(bob.clone()))));
    assert_eq!(mine(), 0);
    let number = |reply| match reply {
        Ok(Reply::Channel(info)) => info.channel,
        other => panic!("a channel, not {other:?}"),
    };
    let made = number(scene.answer(false, Asked::OpenDirect(bob.clone())));
    assert_eq!(number(scene.answer(true, Asked::OpenDirect(bob))), made);
    assert_eq!(mine(), 1);
}

#[test]
fn work_that_waited_too_long_behind_the_door_is_not_begun() {
    let door = Door::new("test", 1, 8).unwrap();
    let scene = Scene::new(door.clone());
    let (release, released) = mpsc::channel::<()>();
    drop(door.call(move || released.recv().unwrap()));
    let deadline = Deadline::after(scene.clock.now(), SOON);
    let (began, begun) = mpsc::channel();
    let waiting = scene.floors.behind_door(deadline, move || began.send(()).unwrap());
    scene.clock.advance(Duration::from_millis((SOON + 1).into()));
    release.send(()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert!(is_late(&runtime.block_on(waiting)));
    assert!(begun.try_recv().is_err(), "it never ran");
}
