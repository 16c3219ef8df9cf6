//! Answers, chunks and last words.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use damso_proto::id::{ChannelNo, Seq};

use super::kit::{Got, ROOMY, Shard, answer, event};
use crate::connections::{End, LaneFull, Notice, Options, Start, Why};
use crate::model::limits;

#[test]
fn an_answer_rides_in_the_record_of_the_event() {
    let mut shard = Shard::new(Options::default());
    let client = shard.connect(ROOMY);
    shard.join(2, client, 1);
    shard.append(2, 1, 100);
    shard.connections.control(shard.id(client), answer(7, 1)).unwrap();
    let turn = shard.connections.turn(shard.now);
    assert_eq!((turn.sends, turn.deliveries, turn.more), (1, 1, false));
    assert_eq!(shard.got(client), [Got::Answer(7), Got::Event(2, 1)]);
}

#[test]
fn a_control_lane_fills_stops_reading_and_says_when_it_is_free() {
    let mut shard = Shard::new(Options::default());
    let client = shard.connect(1_000);
    let id = shard.id(client);
    let mut taken = 0;
    while shard.connections.control(id, answer(taken + 1, 1_000)).is_ok() {
        taken += 1;
        shard.connections.turn(shard.now);
    }
    assert!(shard.connections.control_full(id));
    assert_eq!(shard.connections.control(id, answer(99, 1_000)), Err(LaneFull));
    shard.settle();
    assert!(!shard.connections.control_full(id));
    assert!(shard.connections.take_notices().contains(&Notice::ControlFree(id)));
    let expected: Vec<_> = (1..=taken).map(Got::Answer).collect();
    assert_eq!(shard.got(client), expected, "nothing taken was lost");
}

#[test]
fn live_events_follow_their_replay() {
    for capacity in [ROOMY, 500] {
        let mut shard = Shard::new(Options::default());
        let client = shard.connect(capacity);
        let (id, channel) = (shard.id(client), ChannelNo::new(2));
        shard.connections.join(channel, id, Start::Waiting(Seq::new(1)));
        for seq in 4..=5 {
            shard.append(2, seq, 100);
            shard.connections.turn(shard.now);
        }
        let replay: Vec<u8> = (1..=4).flat_map(|seq| event(2, seq, 100).to_vec()).collect();
        shard.connections.bulk(id, replay.into(), vec![(channel, Seq::new(5))]);
        assert!(!shard.connections.bulk_free(id));
        shard.append(2, 6, 100);
        shard.settle();
        let expected: Vec<_> = (1..=6).map(|seq| Got::Event(2, seq)).collect();
        assert_eq!(shard.got(client), expected, "through {capacity}");
        assert!(shard.connections.bulk_free(id));
        assert!(shard.connections.take_notices().contains(&Notice::BulkFree(id)));
    }
}

#[test]
fn last_words_come_last_and_then_the_end() {
    for capacity in [ROOMY, 300] {
        let mut shard = Shard::new(Options::default());
        let client = shard.connect(capacity);
        let id = shard.id(client);
        shard.join(2, client, 1);
        shard.connections.control(id, answer(1, 2_000)).unwrap();
        shard.connections.finish(id, answer(2, 10));
        shard.append(2, 1, 10);
        shard.connections.control(id, answer(3, 10)).unwrap();
        shard.settle();
        assert_eq!(shard.got(client), [Got::Answer(1), Got::Answer(2)], "through {capacity}");
        let notices = shard.connections.take_notices();
        assert_eq!(notices, [Notice::Gone(id, Why::Finished)]);
        assert!(shard.connections.remove(id).is_some(), "to be parted from");
        shard.settle();
        assert!(shard.clients[client].1.tls.process_new_packets().unwrap().peer_has_closed());
    }
}

#[test]
fn a_cut_leaves_out_what_waits_but_never_the_rest_of_a_frame() {
    // A full socket: the first record, of 16 KiB, ends within an answer.
    for (length, answers) in [(10, 1), (9_000, 3)] {
        let mut shard = Shard::new(Options::default());
        let client = shard.connect(300);
        let id = shard.id(client);
        shard.join(2, client, 1);
        for request in 1..=3 {
            shard.connections.control(id, answer(request, length)).unwrap();
            if request == 1 && answers == 1 {
                shard.append(2, 1, 2_000);
                shard.connections.turn(shard.now);
            }
        }
        shard.connections.turn(shard.now);
        shard.append(2, 2, 10);
        shard.connections.cut(id, answer(9, 10));
        shard.append(2, 3, 10);
        shard.settle();
        let heard = shard.got(client);
        let expected: Vec<_> = (1..=answers).chain([9]).map(Got::Answer).collect();
        let heard: Vec<_> = heard.into_iter().filter(|got| *got != Got::Event(2, 1)).collect();
        assert_eq!(heard, expected, "answers of {length} bytes");
    }
}

#[test]
fn whoever_goes_on_talking_hears_the_last_words_all_the_same() {
    let mut shard = Shard::new(Options::default());
    let client = shard.connect(ROOMY);
    let id = shard.id(client);
    shard.connections.finish(id, answer(2, 10));
    shard.clients[client].1.say(&[1; 10_000]);
    shard.connections.turn(shard.now);
    let wire = shard.connections.remove(id).expect("its last words are written");
    let mut parting = pin!(wire.part());
    let mut cx = Context::from_waker(Waker::noop());
    let (_, talker) = &mut shard.clients[client];
    for _ in 0..3 {
        talker.say(&[1; 10_000]);
        assert!(parting.as_mut().poll(&mut cx).is_pending(), "until it ends, too");
    }
    assert_eq!(talker.got(), [Got::Answer(2)]);
    assert!(talker.tls.process_new_packets().unwrap().peer_has_closed());
    let mut said = 30_000;
    while parting.as_mut().poll(&mut cx).is_pending() {
        talker.say(&[1; 50_000]);
        said += 50_000;
        assert!(said < 2 * limits::PARTING_BYTES_MAX, "not for ever");
    }
}

#[test]
fn a_socket_that_takes_nothing_for_too_long_is_cut_and_one_that_takes_little_is_not() {
    let mut shard = Shard::new(Options::default());
    let clients = [shard.connect(2_000), shard.connect(2_000)];
    for client in clients {
        shard.join(2, client, 1);
    }
    let cable = shard.clients[clients[0]].1.cable.clone();
    cable.hold(End::Left, true);
    for seq in 1..=40 {
        shard.append(2, seq, 300);
        shard.now = shard.now.plus(Duration::from_secs(1));
        shard.connections.turn(shard.now);
        shard.clients[clients[1]].1.pump();
        shard.ready();
    }
    let gone = shard.connections.take_notices();
    assert_eq!(gone, [Notice::Gone(shard.id(clients[0]), Why::Slow)]);
    shard.connections.remove(shard.id(clients[0]));
    shard.settle();
    assert_eq!(shard.got(clients[1]).len(), 40);
    assert_eq!(shard.connections.log_bytes(), 0, "who is gone holds nothing");
}

#[test]
fn a_broken_line_is_told_once_and_holds_nothing() {
    let mut shard = Shard::new(Options::default());
    let clients = [shard.connect(ROOMY), shard.connect(ROOMY)];
    for client in clients {
        shard.join(2, client, 1);
    }
    shard.clients[clients[0]].1.cable.cut();
    shard.append(2, 1, 10);
    shard.connections.turn(shard.now);
    shard.append(2, 2, 10);
    shard.connections.turn(shard.now);
    let gone = shard.connections.take_notices();
    assert_eq!(gone, [Notice::Gone(shard.id(clients[0]), Why::Broken)]);
    shard.settle();
    assert_eq!(shard.got(clients[1]), [Got::Event(2, 1), Got::Event(2, 2)]);
    assert_eq!(shard.connections.log_bytes(), 0);
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_task_that_waits_for_bytes_learns_that_its_socket_is_full_and_that_it_drains() {
    let mut shard = Shard::new(Options::default());
    let client = shard.connect(500);
    shard.join(2, client, 1);
    let woken = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    let id = shard.id(client);
    assert!(shard.connections.poll_ready(id, true, &mut cx).is_pending());
    shard.append(2, 1, 2_000);
    shard.connections.turn(shard.now);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1, "told that the socket is full");
    assert!(shard.connections.poll_ready(id, true, &mut cx).is_pending());
    shard.clients[client].1.pump();
    assert_eq!(woken.0.load(Ordering::Relaxed), 2, "told that it drains");
    let ready = shard.connections.poll_ready(id, true, &mut cx);
    assert!(matches!(ready, Poll::Ready(Some(ready)) if ready.writable && !ready.readable));
    shard.connections.remove(id);
    assert_eq!(shard.connections.poll_ready(id, true, &mut cx), Poll::Ready(None));
}
