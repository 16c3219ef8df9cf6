//! The laws of history, each a function over an engine that starts empty.

use std::sync::Arc;

use damso_proto::id::{ChannelNo, Epoch, Key, MessageId, Ordinal, Seq, UserNo};

use super::rig::{Engine, Rig, Told, run_of, text_event};
use crate::store::log::{
    ChannelLog, FeedPosition, FeedRow, Group, Head, Order, Range, Run, StoreError, StoredEvent,
    Undone,
};

const ALL: Range = Range {
    from: Seq::new(1),
    to: Seq::MAX,
    order: Order::Rising,
    rows_max: usize::MAX,
    bytes_max: usize::MAX,
};

fn channel(number: u64) -> ChannelNo {
    ChannelNo::new(number)
}

fn seqs(log: &dyn ChannelLog, number: u64, range: Range) -> Vec<u64> {
    log.read(channel(number), range).unwrap().iter().map(|event| event.seq.get()).collect()
}

fn head(log: &dyn ChannelLog, number: u64) -> Head {
    log.open(channel(number), 0).unwrap().head
}

/// What a run must look like when it is read.
fn stored(run: &Run) -> Vec<(Seq, MessageId, Vec<u8>)> {
    let event =
        |event: &crate::store::log::NewEvent| (event.seq, event.id, event.encoded.event().to_vec());
    run.events.iter().map(event).collect()
}

fn read(log: &dyn ChannelLog, number: u64) -> Vec<(Seq, MessageId, Vec<u8>)> {
    let event = |event: StoredEvent| (event.seq, event.id, event.event.to_vec());
    log.read(channel(number), ALL).unwrap().into_iter().map(event).collect()
}

pub(crate) fn an_append_is_read_back_and_told_once(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    let expected = stored(&run_of(4, 0, 3));
    let group = rig.store(run_of(4, 0, 3));
    assert_eq!(group.position, FeedPosition(1));
    assert_eq!(stored(&group.runs[0]), expected, "the group carries the run as it was appended");
    assert_eq!(read(&*rig.log, 4), expected);
    rig.log.close();
    assert_eq!(rig.told.take(0).len(), 0, "told once");
}

pub(crate) fn seqs_are_dense_from_one(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    for (at, count) in [(0, 1), (1, 7), (8, 2)] {
        rig.store(run_of(4, at, count));
    }
    assert_eq!(seqs(&*rig.log, 4, ALL), (1..=10).collect::<Vec<_>>());
    assert_eq!(head(&*rig.log, 4).seq, Seq::new(10));
}

pub(crate) fn a_run_on_another_head_conflicts_and_leaves_nothing(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    rig.store(run_of(4, 0, 5));
    let before = read(&*rig.log, 4);
    for expected in [0, 4, 6] {
        match rig.refuse(run_of(4, expected, 2)) {
            Undone::Conflict { head } => assert_eq!(head, Seq::new(5)),
            other => panic!("on head {expected}: {other}"),
        }
    }
    assert_eq!(read(&*rig.log, 4), before);
    rig.store(run_of(4, 5, 1));
}

pub(crate) fn ids_must_rise(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    rig.store(run_of(4, 0, 2));
    for id in [0, 19, 20] {
        let mut run = run_of(4, 2, 1);
        run.events[0].id = MessageId::new(id);
        assert!(is_unsound(&rig.refuse(run)), "id {id} after 20");
    }
    assert_eq!(head(&*rig.log, 4).seq, Seq::new(2));
}

fn is_unsound(why: &Undone) -> bool {
    matches!(why, Undone::Refused(why) if matches!(**why, StoreError::Unsound { .. }))
}

pub(crate) fn a_run_that_breaks_the_rules_is_refused_whole(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    let capabilities = rig.log.capabilities();
    let mut gap = run_of(4, 0, 3);
    gap.events.remove(1);
    let mut falling = run_of(4, 0, 3);
    falling.events[2].id = MessageId::new(15);
    let long = run_of(4, 0, capabilities.run_events_max as u64 + 1);
    let heavy = Run {
        events: vec![text_event(4, 1, &"x".repeat(capabilities.run_bytes_max + 1))],
        ..run_of(4, 0, 0)
    };
    for (name, run) in [
        ("empty", run_of(4, 0, 0)),
        ("gap", gap),
        ("falling ids", falling),
        ("too many", long),
        ("too heavy", heavy),
    ] {
        assert!(is_unsound(&rig.refuse(run)), "{name}");
        assert_eq!(head(&*rig.log, 4), Head::EMPTY, "{name}");
        assert_eq!(read(&*rig.log, 4), [], "{name}");
    }
    rig.store(run_of(4, 0, 1));
}

pub(crate) fn a_key_is_found_by_its_own_user_and_channel_alone(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    let mut run = run_of(4, 0, 0);
    run.events = vec![text_event(4, 1, "a").keyed(7, 1_000, 1), text_event(4, 2, "b")];
    rig.store(run);
    let key = Key::new(1_000, [1; 10]);
    let find = |number, user, key| rig.log.find_key(channel(number), UserNo::new(user), key);
    let row = find(4, 7, key).unwrap().unwrap();
    assert_eq!((row.seq, row.id, row.key.body.0), (Seq::new(1), MessageId::new(10), 1));
    assert_eq!(row.key.key, key);
    for (number, user, key) in [(6, 7, key), (4, 8, key), (4, 7, Key::new(1_000, [2; 10]))] {
        assert_eq!(find(number, user, key).unwrap(), None, "channel {number}, user {user}");
    }
    let events = rig.log.read(channel(4), ALL).unwrap();
    assert_eq!(events[0].key, Some(row.key), "an event keeps its key");
    assert_eq!(events[1].key, None);
}

pub(crate) fn open_returns_the_keys_from_its_horizon_on_oldest_first(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    for number in [3, 4, 5] {
        let mut run = run_of(number, 0, 0);
        run.events = [(1, 3_000), (2, 1_000), (3, 2_000), (4, 1_999)]
            .map(|(seq, ms)| text_event(number, seq, "x").keyed(seq % 2, ms, 9))
            .into();
        rig.store(run);
    }
    let keys = |from| -> Vec<u64> {
        let opened = rig.log.open(channel(4), from).unwrap();
        assert_eq!(opened.keys_from_ms, from);
        opened.keys.iter().map(|row| row.key.key.unix_ms()).collect()
    };
    assert_eq!(keys(0), [1_000, 1_999, 2_000, 3_000]);
    assert_eq!(keys(2_000), [2_000, 3_000]);
    assert_eq!(keys(3_001), [] as [u64; 0]);
}

pub(crate) fn pages_are_cut_at_the_end_that_their_order_names(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    for number in [3, 4, 5] {
        rig.store(run_of(number, 0, 20));
    }
    let check = |from, to, order, rows_max, expected: std::ops::RangeInclusive<u64>| {
        let range = Range { from: Seq::new(from), to: Seq::new(to), order, rows_max, ..ALL };
        let expected: Vec<u64> = expected.collect();
        assert_eq!(seqs(&*rig.log, 4, range), expected, "{range:?}");
    };
    check(1, u64::MAX, Order::Rising, 100, 1..=20);
    check(0, 20, Order::Falling, 100, 1..=20);
    check(5, 9, Order::Rising, 100, 5..=9);
    check(5, 9, Order::Rising, 3, 5..=7);
    check(5, 9, Order::Falling, 3, 7..=9);
    check(1, u64::MAX, Order::Falling, 3, 18..=20);
    check(20, u64::MAX, Order::Rising, 3, 20..=20);
    #[expect(clippy::reversed_empty_ranges)]
    for (from, to) in [(21, u64::MAX), (9, 8), (0, 0)] {
        check(from, to, Order::Rising, 3, 1..=0);
        check(from, to, Order::Falling, 3, 1..=0);
    }
}

pub(crate) fn a_page_holds_one_event_however_large(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    rig.store(run_of(4, 0, 5));
    let one = rig.log.read(channel(4), Range { rows_max: 1, ..ALL }).unwrap()[0].event.len();
    for (bytes_max, rows) in [(0, 1), (one - 1, 1), (one, 1), (one * 2, 2), (one * 2 + 1, 2)] {
        let rising = seqs(&*rig.log, 4, Range { bytes_max, ..ALL });
        assert_eq!(rising, (1..=rows).collect::<Vec<_>>(), "{bytes_max} bytes");
        let falling = seqs(&*rig.log, 4, Range { bytes_max, order: Order::Falling, ..ALL });
        assert_eq!(falling, (6 - rows..=5).collect::<Vec<_>>(), "{bytes_max} bytes");
    }
    assert_eq!(seqs(&*rig.log, 4, Range { rows_max: 0, ..ALL }), [1]);
}

pub(crate) fn heads_come_in_the_order_asked_and_unknown_channels_are_empty(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    rig.store(run_of(4, 0, 3));
    rig.store(run_of(u64::MAX, 0, 2));
    let asked = [u64::MAX, 6, 4, 6, 0];
    let heads = rig.log.heads(&asked.map(channel)).unwrap();
    assert_eq!(heads.iter().map(|head| head.seq.get()).collect::<Vec<_>>(), [2, 0, 3, 0, 0]);
    assert_eq!(heads[1], Head::EMPTY);
    let expected = Head {
        seq: Seq::new(3),
        id: MessageId::new(30),
        ordinal: Ordinal::new(3),
        floor: Seq::new(1),
        epoch: Epoch::new(1),
        epoch_first: Seq::new(1),
    };
    assert_eq!(heads[2], expected);
    assert_eq!(head(&*rig.log, 4), expected);
    assert_eq!(head(&*rig.log, 6), Head::EMPTY);
    assert_eq!(rig.log.epoch(), Epoch::new(1));
}

pub(crate) fn ordinals_count_the_countable(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    for (at, count) in [(0, 3), (3, 4)] {
        let mut run = run_of(4, at, count);
        for event in &mut run.events {
            event.counted = event.seq.get() % 3 != 0;
        }
        rig.store(run);
    }
    let events = rig.log.read(channel(4), ALL).unwrap();
    let ordinals: Vec<u64> = events.iter().map(|event| event.ordinal.get()).collect();
    assert_eq!(ordinals, [1, 2, 2, 3, 4, 4, 5]);
    assert_eq!(head(&*rig.log, 4).ordinal, Ordinal::new(5));
}

fn feed_row(group: &Group) -> FeedRow {
    let ranges = group.runs.iter().map(Run::range).collect();
    FeedRow { position: group.position, ranges }
}

pub(crate) fn the_feed_tells_every_group_once(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    let mut told = Vec::new();
    for round in 0..5 {
        // More channels than a row of 3.5 KB has room for.
        let runs = (1..=300).map(|number| run_of(number, round * 2, 2)).collect();
        told.extend(rig.append(runs));
    }
    rig.refuse(run_of(1, 3, 1));
    let groups: Vec<FeedRow> = told
        .iter()
        .map(|told| match told {
            Told::Durable(group) => feed_row(group),
            other @ Told::Undone(..) => panic!("{other:?}"),
        })
        .collect();
    let positions: Vec<u64> = groups.iter().map(|row| row.position.0).collect();
    assert_eq!(positions, (1..=groups.len() as u64).collect::<Vec<_>>(), "dense, from 1");
    assert_eq!(rig.log.feed(FeedPosition(0), usize::MAX).unwrap(), groups);
    assert_eq!(rig.log.feed(FeedPosition(2), 2).unwrap(), groups[1..groups.len().min(3)]);
    let end = FeedPosition(groups.len() as u64 + 1);
    assert_eq!(rig.log.feed(end, 10).unwrap(), []);
}

pub(crate) fn the_high_water_is_the_largest_committed_id(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    assert_eq!(rig.log.high_water(), MessageId::new(0));
    rig.store(run_of(4, 0, 9));
    rig.store(run_of(6, 0, 2));
    rig.refuse(run_of(6, 100, 2));
    assert_eq!(rig.log.high_water(), MessageId::new(90));
    let rig = rig.restart();
    assert_eq!(rig.log.high_water(), MessageId::new(90));
}

pub(crate) fn a_group_holds_at_most_one_run_of_a_channel(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    let runs = (0..40).map(|at| run_of(4 + at % 2, at / 2, 1)).collect();
    for told in rig.append(runs) {
        let Told::Durable(group) = told else { panic!("{told:?}") };
        let mut channels: Vec<_> = group.runs.iter().map(|run| run.channel).collect();
        channels.sort_unstable();
        channels.dedup();
        assert_eq!(channels.len(), group.runs.len());
    }
    assert_eq!(seqs(&*rig.log, 4, ALL), (1..=20).collect::<Vec<_>>());
}

pub(crate) fn large_and_empty_bodies_come_back_whole(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    let lens = [0, 1, 3_000, 3_072, 3_073, 6_144, 16_384, 60_000];
    let mut run = run_of(4, 0, 0);
    for (len, seq) in lens.into_iter().zip(1..) {
        let text: String = (0..len).map(|at| char::from(b'a' + (at % 23) as u8)).collect();
        let event = text_event(4, seq, &text);
        run.events.push(if seq % 2 == 0 { event.keyed(7, seq, 1) } else { event });
    }
    let expected = stored(&run);
    rig.store(run);
    assert_eq!(read(&*rig.log, 4), expected);
    let rig = rig.restart();
    assert_eq!(read(&*rig.log, 4), expected);
    let mut falling = rig.log.read(channel(4), Range { order: Order::Falling, ..ALL }).unwrap();
    let last = falling.pop().map(|event| event.event.to_vec());
    assert_eq!(last, expected.last().map(|(_, _, event)| event.clone()));
}

pub(crate) fn close_commits_what_was_handed_over_and_then_refuses(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    assert_eq!(rig.log.writable(), Ok(()));
    for number in 1..=50 {
        rig.log.append(run_of(number, 0, 2));
    }
    rig.log.close();
    for told in rig.told.take(50) {
        assert!(matches!(told, Told::Durable(_)), "{told:?}");
    }
    assert!(rig.log.writable().is_err());
    rig.log.append(run_of(51, 0, 1));
    match rig.told.take(1).pop() {
        Some(Told::Undone(_, Undone::Refused(why))) => {
            assert!(matches!(*why, StoreError::Stopped { .. }), "{why}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(seqs(&*rig.log, 50, ALL), [1, 2], "reading goes on");
    rig.log.close();
    let rig = rig.restart();
    assert_eq!(head(&*rig.log, 50).seq, Seq::new(2));
    assert_eq!(head(&*rig.log, 51), Head::EMPTY);
}

pub(crate) fn reopening_finds_the_same(engine: &dyn Engine) {
    let rig = Rig::start(engine);
    for at in 0..4 {
        let mut run = run_of(4, at * 3, 3);
        run.events[1] = text_event(4, at * 3 + 2, "keyed").keyed(7, at * 100, 3);
        run.events[2].counted = false;
        rig.append(vec![run, run_of(6, at, 1)]);
    }
    let look = |log: &Arc<dyn ChannelLog>| {
        (
            log.open(channel(4), 100).unwrap(),
            log.read(channel(4), ALL).unwrap(),
            log.read(channel(6), ALL).unwrap(),
            log.heads(&[channel(6), channel(4)]).unwrap(),
            log.feed(FeedPosition(1), usize::MAX).unwrap(),
            log.find_key(channel(4), UserNo::new(7), Key::new(0, [3; 10])).unwrap(),
            (log.high_water(), log.epoch()),
        )
    };
    let before = look(&rig.log);
    let rig = rig.restart();
    assert_eq!(look(&rig.log), before);
    rig.store(run_of(4, 12, 1));
    let rig = rig.restart();
    assert_eq!(seqs(&*rig.log, 4, ALL), (1..=13).collect::<Vec<_>>());
}
