//! Single steps whose outcome matters, told one by one.

use std::time::Duration;

use super::model_server::{Mood, SELF, USER};
use super::random_schedules::World;
use crate::client::{Answer, AskError, News, SendOutcome, SignedOut, State, Told};
use crate::code::{CloseCode, Code};
use crate::id::{ChannelNo, Seq};
use crate::wire;
use crate::wire::client_frame::Kind;
use crate::wire::event::Content;
use crate::wire::server_frame::Kind as Said;
use crate::wire::standing::State as Stands;

fn theirs() -> Content {
    Content::Text("theirs".into())
}

fn online(seed: u64) -> World {
    let mut world = World::new(seed);
    world.settle();
    world
}

fn moments(world: &mut World) {
    world.pass(Duration::from_millis(300));
    for _ in 0..20 {
        world.network(100_000);
        world.take(100);
    }
}

#[test]
fn who_was_away_comes_back_in_one_connection_with_everything() {
    let mut world = online(1);
    world.cut();
    for _ in 0..3 {
        world.server.append(12, USER + 1, theirs());
    }
    world.settle();
    assert_eq!(world.server.hellos, 2);
    assert_eq!(world.taken[&12], [1, 2, 3, 4]);
}

#[test]
fn who_joins_starts_at_their_first_event_and_who_leaves_stops_at_their_last() {
    let mut world = online(2);
    world.server.logs.entry(20).or_default();
    world.server.append(20, USER + 1, theirs());
    world.server.join(20);
    world.server.append(20, USER + 1, theirs());
    world.settle();
    assert_eq!(world.taken[&20], [2, 3], "what was before is not theirs");
    world.server.part(20);
    world.server.append(20, USER + 1, theirs());
    moments(&mut world);
    assert_eq!(world.taken[&20], [2, 3, 4]);
    assert_eq!(world.others, [News::Gone { channel: ChannelNo::new(20) }]);
    assert!(world.replica.snapshot().cursors.iter().all(|cursor| cursor.channel.get() != 20));
}

#[test]
fn who_left_while_away_is_told_so() {
    let mut world = online(3);
    world.cut();
    world.server.part(14);
    moments(&mut world);
    assert_eq!(world.others, [News::Gone { channel: ChannelNo::new(14) }]);
    let own = world.server.logs[&SELF].head();
    assert_eq!(world.taken[&SELF].last(), Some(&own), "and one's own log is whole");
}

#[test]
fn who_is_let_in_again_while_away_skips_what_was_not_theirs() {
    let mut world = online(4);
    world.cut();
    world.server.part(14);
    for _ in 0..3 {
        world.server.append(14, USER + 1, theirs());
    }
    world.server.join(14);
    world.settle();
    let channel = ChannelNo::new(14);
    assert_eq!(world.taken[&14], [1, 6]);
    assert_eq!(world.others, [News::Skipped { channel, from: Seq::new(2), to: Seq::new(5) }]);
}

#[test]
fn a_removal_that_is_told_after_the_return_repeats_nothing() {
    let mut world = online(11);
    let gone = News::Gone { channel: ChannelNo::new(14) };
    world.server.mood = Mood { own_lags: true, ..Mood::default() };
    world.server.part(14);
    moments(&mut world);
    assert_eq!(world.others, std::slice::from_ref(&gone), "the channel's own word is enough");
    for _ in 0..3 {
        world.server.append(14, USER + 1, theirs());
    }
    world.server.join(14);
    world.server.append(14, USER + 1, theirs());
    moments(&mut world);
    assert_eq!(world.taken[&14], [1, 2, 6, 7], "and so is history");
    world.server.tell_own();
    moments(&mut world);
    world.server.append(14, USER + 1, theirs());
    world.settle();
    assert_eq!((&*world.taken[&14], &*world.others), (&[1, 2, 6, 7, 8][..], &[gone][..]));
}

#[test]
fn who_is_let_in_again_before_hearing_of_the_removal_goes_on() {
    let mut world = online(12);
    // The events are skipped, and told as BEHIND only when the person is a member again.
    world.server.mood = Mood { lagging: true, own_lags: true, ..Mood::default() };
    world.server.part(14);
    for _ in 0..3 {
        world.server.append(14, USER + 1, theirs());
    }
    world.server.join(14);
    world.server.mood.lagging = false;
    world.server.tell_own();
    world.server.append(14, USER + 1, theirs());
    world.settle();
    assert_eq!(world.taken[&14], [1, 6, 7]);
    let channel = ChannelNo::new(14);
    assert_eq!(world.others, [News::Skipped { channel, from: Seq::new(2), to: Seq::new(5) }]);
}

#[test]
fn a_restored_history_takes_back_what_never_happened() {
    let mut world = online(5);
    for _ in 0..4 {
        world.server.append(10, USER + 1, theirs());
    }
    moments(&mut world);
    assert_eq!(world.taken[&10], [1, 2, 3, 4, 5]);
    world.cut();
    world.server.epoch = 2;
    world.server.logs.entry(10).or_default().events.truncate(3);
    world.server.append(10, USER + 1, theirs());
    world.pass(Duration::from_millis(300));
    (0..3).for_each(|_| world.network(100_000));
    let standing = wire::Standing {
        channel: 10,
        state: Stands::RolledBack.into(),
        to: 3,
        head: 4,
        ..Default::default()
    };
    world.server.say(Said::Standing(standing), 0, false);
    world.settle();
    let channel = ChannelNo::new(10);
    assert_eq!(world.others, [News::RolledBack { channel, to: Seq::new(3) }]);
    assert_eq!(world.taken[&10], [1, 2, 3, 4, 5, 4], "4 comes again: it is another one");
}

#[test]
fn a_refusal_for_now_is_retried_with_the_same_key_and_order_holds() {
    let mut world = online(6);
    world.server.mood = Mood { overloaded: true, ..Mood::default() };
    (0..3).for_each(|_| world.send(10));
    moments(&mut world);
    assert_eq!(world.answers.len(), 0);
    world.settle();
    assert_eq!(world.answers.len(), 3);
    let texts = world.server.logs[&10].events[1..].iter().map(|event| event.content.clone());
    let expected = (1..=3).map(|n| Some(Content::Text(format!("mine {n}"))));
    assert!(texts.eq(expected));
}

#[test]
fn a_send_whose_answer_was_lost_is_answered_by_the_resume() {
    let mut world = online(7);
    world.send(10);
    // The server hears it; the client does not hear the answer.
    let up = std::mem::take(world.replica.output());
    world.server.received(&up);
    world.cut();
    moments(&mut world);
    world.pass(Duration::from_secs(1));
    moments(&mut world);
    let outcome = world.answers.values().next();
    assert!(matches!(outcome, Some(SendOutcome::Stored { duplicate: true, .. })), "{outcome:?}");
    assert_eq!(world.server.logs[&10].head(), 2);
}

#[test]
fn a_key_that_the_server_forgot_is_unknown_only_if_it_was_ever_sent() {
    let mut world = online(8);
    world.send(10);
    let refuse = |world: &mut World, id| {
        let code = Code::KeyExpired.number();
        let refusal = wire::Refusal { code, ..Default::default() };
        world.server.say(Said::Refusal(refusal), id, false);
    };
    let lost = std::mem::take(world.replica.output());
    assert!(!lost.is_empty());
    refuse(&mut world, 1);
    world.network(100_000);
    assert!(matches!(world.answers.values().next(), Some(SendOutcome::Refused(_))));

    let mut world = online(8);
    world.send(10);
    world.replica.output().clear();
    world.cut();
    world.server.mood = Mood { overloaded: true, ..Mood::default() };
    world.pass(Duration::from_millis(300));
    (0..4).for_each(|_| world.network(100_000));
    world.pass(Duration::from_millis(450));
    world.replica.output().clear();
    refuse(&mut world, 2);
    world.network(100_000);
    assert_eq!(world.answers.values().next(), Some(&SendOutcome::Unknown));
}

#[test]
fn a_request_survives_its_connection_and_has_a_deadline() {
    let mut world = online(9);
    let find = || Kind::FindPeople(wire::FindPeople::default());
    let ticket = world.replica.ask(find(), world.now()).expect("room for a request");
    world.cut();
    world.pass(Duration::from_millis(300));
    let mut told = None;
    for _ in 0..10 {
        world.pass(Duration::from_millis(1));
        world.network(100_000);
        told = told.or(world.requests.pop());
    }
    let expected = Told::Answered { ticket, result: Ok(Answer::People(wire::People::default())) };
    assert_eq!(told, Some(expected));

    world.cut();
    let ticket = world.replica.ask(find(), world.now()).expect("room for a request");
    world.pass(Duration::from_secs(30));
    let late = Told::Answered { ticket, result: Err(AskError::Deadline) };
    assert_eq!(world.replica.next_told(), Some(late));
}

#[test]
fn a_closing_says_whether_and_when_to_come_back() {
    let mut world = online(10);
    let closing = |code, retry_after_ms| {
        let address = "other:1".into();
        Said::Closing(wire::Closing { code, retry_after_ms, address, ..Default::default() })
    };
    let before = world.now().at;
    world.server.say(closing(CloseCode::GoingAway.number(), 5_000), 0, false);
    world.network(100_000);
    match world.replica.state() {
        State::Backoff { retry_at, .. } => {
            assert!((5..=10).contains(&retry_at.since(before).as_secs()), "{retry_at:?}");
            world.replica.network_changed(world.now());
            assert_eq!(world.replica.next_dial(world.now()), None, "not before the server asked");
            world.pass(retry_at.since(before));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.replica.next_dial(world.now()), Some(Some("other:1".into())));

    let mut world = online(11);
    world.server.say(closing(CloseCode::TokenExpired.number(), 0), 0, false);
    world.network(100_000);
    let state = world.replica.state();
    assert!(matches!(state, State::SignedOut(SignedOut::Closed { .. })), "{state:?}");
    assert_eq!(world.replica.poll_timeout(), None, "nothing is ever tried again");
}

#[test]
fn the_state_of_one_person_is_not_shown_to_another() {
    let mut world = online(12);
    world.cut();
    let mut foreign = world.replica.snapshot();
    foreign.user = Some(crate::id::UserNo::new(USER + 1));
    world.restart_from(foreign);
    (0..4).for_each(|_| world.network(100_000));
    assert_eq!(world.replica.state(), State::SignedOut(SignedOut::OtherPerson));
}

#[test]
fn in_a_broadcast_ones_own_log_alone_tells_who_comes_and_goes() {
    let mut world = online(12);
    world.server.logs.entry(20).or_default();
    for _ in 0..3 {
        world.server.append(20, USER + 1, theirs());
    }
    world.server.join_silently(20, false);
    moments(&mut world);
    assert!(!world.taken.contains_key(&20), "nothing is theirs yet, and nothing is looked for");
    world.server.append(20, USER + 1, theirs());
    moments(&mut world);
    assert_eq!(world.taken[&20], [4]);
    world.server.part_silently(20);
    world.server.append(20, USER + 1, theirs());
    moments(&mut world);
    let gone = News::Gone { channel: ChannelNo::new(20) };
    assert_eq!((&*world.taken[&20], &*world.others), (&[4][..], &[gone][..]));
}

#[test]
fn who_may_read_all_of_the_past_begins_with_its_newest_part() {
    let mut world = online(13);
    world.server.logs.entry(20).or_default();
    let recent = crate::client::Options::new(wire::Hello::default()).new_channel_events;
    for _ in 0..recent + 5 {
        world.server.append(20, USER + 1, theirs());
    }
    world.server.join_silently(20, true);
    world.settle();
    assert_eq!(world.taken[&20], (6..=recent + 5).collect::<Vec<_>>());
}

#[test]
fn a_proof_is_presented_only_by_whoever_began_with_it() {
    let told = |world: &World| world.replica.snapshot();
    let mut world = World::new(31);
    world.server.proof = bytes::Bytes::from_static(&[1; 32]);
    world.settle();
    assert_eq!(told(&world).proof.0, world.server.proof);
    world.cut();
    world.settle();
    assert_eq!(world.server.hellos, 2);
    assert!(world.server.presented.is_empty(), "this process does not know whether it is stored");
    // A newer one takes the place of the one that was told.
    world.server.proof = bytes::Bytes::from_static(&[2; 32]);
    world.cut();
    world.settle();
    let snapshot = told(&world);
    assert_eq!(snapshot.proof.0, world.server.proof);
    assert_eq!(format!("{:?}", snapshot.proof), "Proof(..)", "never shown");
    world.server.proof = bytes::Bytes::new();
    for (device, presents) in [(&*snapshot.device, true), ("", true), ("another", false)] {
        world.restart_as(device, snapshot.clone());
        world.settle();
        assert_eq!(!world.server.presented.is_empty(), presents, "{device:?}");
        assert_eq!(told(&world).proof.0.is_empty(), !presents, "{device:?}");
    }
}

#[test]
fn a_renewed_token_is_used_from_then_on_and_a_refused_one_is_not() {
    let mut world = online(32);
    let expires_ms = world.server.unix_ms + 60_000;
    world.server.say(Said::TokenExpiring(wire::TokenExpiring { expires_ms }), 0, false);
    moments(&mut world);
    assert_eq!(world.requests.pop(), Some(Told::TokenExpiring { expires_ms }));
    for (token, good) in [("bad", false), ("good", true), ("worse", false)] {
        let ticket = world.replica.renew(token.into(), world.now()).expect("room for a request");
        moments(&mut world);
        let Some(Told::Answered { ticket: answered, result }) = world.requests.pop() else {
            panic!("an answer");
        };
        assert_eq!(answered, ticket);
        assert_eq!(matches!(result, Ok(Answer::Renewed(_))), good, "{token}: {result:?}");
        world.cut();
        world.settle();
        assert_eq!(world.server.token == "good", token != "bad", "{token}");
    }
    // Whoever is away comes back with it.
    world.cut();
    world.replica.renew("good again".into(), world.now()).expect("room for a request");
    world.settle();
    assert_eq!(world.server.token, "good again");
}
