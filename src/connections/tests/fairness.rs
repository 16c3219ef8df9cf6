//! Nobody waits for anybody else: counted in sends and turns, never in time.

use std::time::Duration;

use super::kit::{Got, ROOMY, Shard, answer};
use crate::connections::pipe::Pipe;
use crate::connections::{End, Options};

#[test]
fn ten_thousand_of_these_are_held_at_once() {
    assert!(size_of::<Pipe>() <= 200, "{} bytes", size_of::<Pipe>());
}

#[test]
fn a_broadcast_does_not_hold_up_a_small_group() {
    let mut shard = Shard::new(Options::default());
    for client in 0..120 {
        shard.connect(ROOMY);
        shard.join(2, client, 1);
    }
    for client in 0..10 {
        shard.join(4, client, 1);
    }
    shard.append(2, 1, 100);
    let first = shard.connections.turn(shard.now);
    assert_eq!((first.sends, first.more), (64, true));
    shard.append(4, 1, 100);
    // 16 of the broadcast at most stand before the group's ten.
    shard.connections.turn(shard.now);
    for client in 0..10 {
        assert!(shard.got(client).contains(&Got::Event(4, 1)), "client {client}");
    }
    shard.settle();
    for client in 10..120 {
        assert_eq!(shard.got(client), [Got::Event(2, 1)], "client {client}");
    }
}

#[test]
fn no_lane_starves_another() {
    let mut shard = Shard::new(Options::default());
    for client in 0..200 {
        shard.connect(ROOMY);
        shard.join(2, client, 1);
    }
    // A channel that always has news for everybody, and answers to those who come last in it.
    for client in 180..200 {
        shard.connections.control(shard.id(client), answer(1, 10)).unwrap();
    }
    shard.connections.bulk(shard.id(179), answer(2, 20_000), Vec::new());
    for seq in 1..=2 {
        shard.append(2, seq, 100);
        let turn = shard.connections.turn(shard.now);
        assert!(turn.more && turn.deliveries > 0, "live events went on in turn {seq}");
    }
    for client in 180..200 {
        assert!(shard.got(client).contains(&Got::Answer(1)), "client {client}, 16 a turn");
    }
    assert_eq!(shard.got(179), [Got::Answer(2)], "the chunk did not wait either");
}

#[test]
fn answers_count_against_the_budget() {
    let mut shard = Shard::new(Options::default());
    for client in 0..100 {
        shard.connect(ROOMY);
        shard.join(2, client, 1);
        shard.connections.control(shard.id(client), answer(1, 10)).unwrap();
    }
    for _ in 0..3 {
        assert!(shard.connections.turn(shard.now).sends <= 64);
    }
}

#[test]
fn a_stalled_reader_costs_little_and_holds_nobody_up() {
    let mut shard = Shard::new(Options::default());
    let (stalled, moving) = (shard.connect(2_000), shard.connect(ROOMY));
    for client in [stalled, moving] {
        shard.join(2, client, 1);
    }
    let cable = shard.clients[stalled].1.cable.clone();
    cable.hold(End::Left, true);
    for seq in 1..=300 {
        shard.append(2, seq, 1_000);
        let turn = shard.connections.turn(shard.now);
        assert_eq!(turn.deliveries, 1 + u64::from(seq <= 2), "event {seq}");
        assert!(!turn.more, "who waits for a socket is not work");
        assert!(shard.connections.log_bytes() <= 16 * 1024 + 2_000);
    }
    let later = shard.now.plus(Duration::from_secs(20));
    assert_eq!(shard.connections.oldest_unsent(later), Duration::ZERO);
    assert_eq!(shard.got(moving).len(), 300);
    cable.hold(End::Left, false);
    shard.settle();
    let got = shard.got(stalled);
    let mut next = 1;
    for got in &got {
        next = match *got {
            Got::Event(2, seq) if seq == next => seq + 1,
            Got::Behind(2, from, to) if from == next => to + 1,
            got => panic!("{got:?} where {next} was due"),
        };
    }
    assert_eq!(next, 301);
    assert!(got.iter().any(|got| matches!(got, Got::Behind(..))), "it fell off");
    assert_eq!(shard.connections.log_bytes(), 0);
}

#[test]
fn the_age_of_the_oldest_unsent_event_is_told() {
    let options = Options { sends_per_turn: 16, ..Options::default() };
    let mut shard = Shard::new(options);
    for client in 0..40 {
        shard.connect(ROOMY);
        shard.join(2, client, 1);
    }
    shard.append(2, 1, 10);
    let after = |seconds| shard.now.plus(Duration::from_secs(seconds));
    let (later, last) = (after(2), after(5));
    assert_eq!(shard.connections.oldest_unsent(later), Duration::from_secs(2));
    assert!(shard.connections.turn(later).more);
    assert_eq!(shard.connections.oldest_unsent(last), Duration::from_secs(3));
}
