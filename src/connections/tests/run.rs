//! Every reader sees one contiguous run of each channel, whatever the sockets do.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use damso_proto::id::{ChannelNo, Seq};
use proptest::prelude::*;

use super::kit::{Got, ROOMY, Shard, event};
use crate::connections::{Appended, Options, Start};

const CHANNELS: [u64; 3] = [2, 4, 6];
const CLIENTS: usize = 4;

/// One step of a story.
#[derive(Clone, Debug)]
enum Step {
    /// The next events of a channel, with texts of so many bytes.
    Append(usize, Vec<usize>),
    Turn,
    /// What was written at a client's server end stays under way, or is let go.
    Hold(usize, bool),
    /// The tasks look whether their sockets are ready.
    Ready,
    Answer(usize, usize),
    Leave(usize, usize),
    /// Joins, and starts at once or with the next step of its kind.
    Join(usize, usize, bool),
    /// A replay up to the head, then live.
    Replay(usize, usize),
    /// No event after the next `n` ones.
    Stop(usize, usize, u64),
    /// Memory is scarce, or no longer.
    KeepLess(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let (channel, client) = (0..CHANNELS.len(), 0..CLIENTS);
    let text = prop_oneof![8 => 0..300_usize, 1 => 4_000..17_000_usize];
    prop_oneof![
        6 => (channel.clone(), prop::collection::vec(text, 1..6)).prop_map(|(c, t)| Step::Append(c, t)),
        6 => Just(Step::Turn),
        3 => (client.clone(), any::<bool>()).prop_map(|(c, held)| Step::Hold(c, held)),
        3 => Just(Step::Ready),
        2 => (client.clone(), 1..9_000_usize).prop_map(|(c, bytes)| Step::Answer(c, bytes)),
        1 => (channel.clone(), client.clone()).prop_map(|(c, who)| Step::Leave(c, who)),
        2 => (channel.clone(), client.clone(), any::<bool>())
            .prop_map(|(c, who, at_once)| Step::Join(c, who, at_once)),
        2 => (channel.clone(), client.clone()).prop_map(|(c, who)| Step::Replay(c, who)),
        1 => any::<bool>().prop_map(Step::KeepLess),
        1 => (channel, client, 0..4_u64).prop_map(|(c, who, n)| Step::Stop(c, who, n)),
    ]
}

/// What a membership has a right to.
#[derive(Clone, Copy, Debug)]
struct Due {
    /// The next seq that must come; zero: has not started.
    next: u64,
    until: u64,
    /// Left, or stopped and done: nothing more may be missing, but what was under way may come.
    over: bool,
}

#[derive(Default)]
struct Model {
    heads: BTreeMap<u64, u64>,
    due: BTreeMap<(u64, usize), Due>,
    answers: Vec<u64>,
}

impl Model {
    fn head(&self, channel: u64) -> u64 {
        self.heads.get(&channel).copied().unwrap_or(0)
    }

    /// Checks what a client got against what it was to get.
    fn check(&mut self, client: usize, got: &[Got]) -> Result<(), TestCaseError> {
        for got in got {
            let (channel, from, to) = match *got {
                Got::Event(channel, seq) => (channel, seq, seq),
                Got::Behind(channel, from, to) => (channel, from, to),
                Got::Answer(_) => continue,
            };
            let due = self.due.get_mut(&(channel, client));
            let Some(due) = due else {
                return Err(TestCaseError::fail(format!("{client} got {got:?} unasked")));
            };
            prop_assert_eq!(from, due.next, "{} got {:?} but was due {:?}", client, got, due);
            prop_assert!(from <= to && to <= due.until, "{} got {:?} of {:?}", client, got, due);
            due.next = to + 1;
        }
        Ok(())
    }
}

fn play(shard: &mut Shard, model: &mut Model, step: Step) {
    let now = shard.now;
    match step {
        Step::Append(channel, texts) => {
            let channel = CHANNELS[channel];
            for text in texts {
                let seq = model.head(channel) + 1;
                model.heads.insert(channel, seq);
                shard.append(channel, seq, text);
            }
        }
        Step::Turn => {
            let turn = shard.connections.turn(now);
            // The last send of a turn may be a chunk of several records.
            assert!(turn.sends <= 64 + 4, "{turn:?}");
        }
        Step::Hold(client, held) => {
            let cable = shard.clients[client].1.cable.clone();
            cable.hold(crate::connections::End::Left, held);
        }
        Step::KeepLess(is_scarce) => shard.connections.keep_less(is_scarce),
        Step::Ready => _ = shard.ready(),
        Step::Answer(client, bytes) => {
            let id = shard.id(client);
            let request = model.answers[client] + 1;
            if shard.connections.control(id, super::kit::answer(request, bytes)).is_ok() {
                model.answers[client] = request;
            }
        }
        Step::Leave(channel, client) => {
            let (channel, id) = (CHANNELS[channel], shard.id(client));
            shard.connections.leave(ChannelNo::new(channel), id);
            if let Some(due) = model.due.get_mut(&(channel, client)) {
                due.over = true;
            }
        }
        Step::Join(channel, client, at_once) => {
            let channel = CHANNELS[channel];
            if model.due.contains_key(&(channel, client)) {
                return;
            }
            let next = if at_once { model.head(channel) + 1 } else { 0 };
            let due = Due { next, until: u64::MAX, over: false };
            model.due.insert((channel, client), due);
            let start =
                if at_once { Start::At(Seq::new(next)) } else { Start::Waiting(Seq::new(1)) };
            shard.connections.join(ChannelNo::new(channel), shard.id(client), start);
        }
        Step::Replay(channel, client) => {
            let (channel, id) = (CHANNELS[channel], shard.id(client));
            let head = model.head(channel);
            let Some(due) = model.due.get_mut(&(channel, client)) else { return };
            if due.next != 0 || due.over || !shard.connections.bulk_free(id) {
                return;
            }
            // The last events up to the head, then live; a stop may lie below.
            due.next = head.saturating_sub(2).max(1);
            let last = head.min(due.until);
            let replay: Vec<u8> =
                (due.next..=last).flat_map(|seq| event(channel, seq, 50).to_vec()).collect();
            let then = vec![(ChannelNo::new(channel), Seq::new(head + 1))];
            shard.connections.bulk(id, Bytes::from(replay), then);
        }
        Step::Stop(channel, client, more) => {
            let (channel, id) = (CHANNELS[channel], shard.id(client));
            let until = model.head(channel) + more;
            let Some(due) = model.due.get_mut(&(channel, client)) else { return };
            due.until = due.until.min(until);
            shard.connections.stop_after(ChannelNo::new(channel), id, Seq::new(until));
        }
    }
}

fn story(steps: Vec<Step>, options: Options) -> Result<(), TestCaseError> {
    let mut shard = Shard::new(options);
    let mut model = Model::default();
    for capacity in [ROOMY, 20_000, 3_000, 200] {
        shard.connect(capacity);
        model.answers.push(0);
    }
    let mut answered = [0; CLIENTS];
    let mut look = |shard: &mut Shard, model: &mut Model| {
        for (client, answered) in answered.iter_mut().enumerate() {
            let got = shard.got(client);
            model.check(client, &got)?;
            for got in got {
                if let Got::Answer(request) = got {
                    prop_assert_eq!(request, *answered + 1, "answers in order");
                    *answered = request;
                }
            }
        }
        Ok(answered)
    };
    for step in steps {
        play(&mut shard, &mut model, step);
        let held = shard.connections.log_bytes();
        prop_assert!(held <= options.shard_log_bytes_max, "logs hold {} bytes", held);
        look(&mut shard, &mut model)?;
    }
    for (_, client) in &shard.clients {
        client.cable.hold(crate::connections::End::Left, false);
    }
    for ((channel, client), due) in &model.due {
        if due.next == 0 {
            let id = shard.id(*client);
            shard.connections.leave(ChannelNo::new(*channel), id);
        }
    }
    shard.settle();
    let answered = look(&mut shard, &mut model)?;
    prop_assert_eq!(&answered[..], &model.answers[..], "every answer came");
    for ((channel, client), due) in &model.due {
        let last = model.head(*channel).min(due.until);
        let all = due.over || due.next == 0 || due.next > last;
        prop_assert!(all, "{client} in {channel} lacks something up to {last}: {due:?}");
    }
    prop_assert_eq!(shard.connections.log_bytes(), 0, "at rest no log holds memory");
    prop_assert!(!shard.connections.turn(shard.now).more);
    prop_assert_eq!(shard.connections.oldest_unsent(shard.now), Duration::ZERO);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_reader_sees_one_contiguous_run(steps in prop::collection::vec(step(), 1..120)) {
        story(steps, Options::default())?;
    }

    /// The same with logs so short that cursors fall off all the time.
    #[test]
    fn who_falls_off_is_told_what_to_read(steps in prop::collection::vec(step(), 1..120)) {
        let options = Options {
            log_bytes_max: 9_000,
            held_bytes_max: 2_000,
            shard_log_bytes_max: 12_000,
            ..Options::default()
        };
        story(steps, options)?;
    }
}

#[test]
fn an_event_that_does_not_follow_is_a_gap_that_readers_are_told() {
    let mut shard = Shard::new(Options::default());
    let client = shard.connect(ROOMY);
    shard.join(2, client, 8);
    let append = |shard: &mut Shard, seq| {
        let frame = event(2, seq, 10);
        shard.connections.append(ChannelNo::new(2), Seq::new(seq), &frame, shard.now)
    };
    assert_eq!(append(&mut shard, 8), Appended::Yes);
    assert_eq!(append(&mut shard, 8), Appended::Gap, "here already");
    assert_eq!(append(&mut shard, 12), Appended::Gap, "ahead");
    assert_eq!(append(&mut shard, 13), Appended::Yes);
    shard.settle();
    let expected = [Got::Behind(2, 8, 11), Got::Event(2, 12), Got::Event(2, 13)];
    assert_eq!(shard.got(client), expected);
    let nobody = shard.connections.append(ChannelNo::new(4), Seq::new(1), &Bytes::new(), shard.now);
    assert_eq!(nobody, Appended::Nobody);
}

#[test]
fn who_joins_in_the_middle_of_a_pass_takes_nobodys_visit() {
    let mut shard = Shard::new(Options::default());
    let [waiting, first, second] = [0; 3].map(|_| shard.connect(ROOMY));
    // Somebody who has not started keeps the channel from resting.
    shard.connections.join(ChannelNo::new(2), shard.id(waiting), Start::Waiting(Seq::new(1)));
    shard.join(2, first, 1);
    shard.append(2, 1, 10);
    shard.connections.turn(shard.now);
    shard.append(2, 2, 10);
    shard.join(2, second, 3);
    shard.settle();
    assert_eq!(shard.got(first), [Got::Event(2, 1), Got::Event(2, 2)]);
}

#[test]
fn who_stops_gets_the_last_event_and_nothing_after_it() {
    for capacity in [ROOMY, 300] {
        let mut shard = Shard::new(Options::default());
        let (stays, goes) = (shard.connect(capacity), shard.connect(capacity));
        for client in [stays, goes] {
            shard.join(2, client, 1);
        }
        for seq in 1..=3 {
            shard.append(2, seq, 400);
            shard.connections.turn(shard.now);
        }
        shard.connections.stop_after(ChannelNo::new(2), shard.id(goes), Seq::new(3));
        for seq in 4..=6 {
            shard.append(2, seq, 400);
            shard.connections.turn(shard.now);
        }
        shard.settle();
        let events = |last| (1..=last).map(|seq| Got::Event(2, seq)).collect::<Vec<_>>();
        assert_eq!(shard.got(stays), events(6), "through {capacity}");
        assert_eq!(shard.got(goes), events(3), "through {capacity}");
        // Added again, it goes on where it was added.
        shard.join(2, goes, 8);
        shard.append(2, 7, 10);
        shard.append(2, 8, 10);
        shard.settle();
        assert_eq!(shard.got(goes), [Got::Event(2, 8)]);
    }
}

#[test]
fn an_id_of_an_earlier_connection_reaches_nobody() {
    let mut shard = Shard::new(Options::default());
    let first = shard.connect(ROOMY);
    let old = shard.id(first);
    shard.connections.remove(old);
    let second = shard.connect(ROOMY);
    assert_eq!(shard.id(second).slot, old.slot, "the slot is used again");
    assert!(!shard.connections.contains(old));
    shard.connections.join(ChannelNo::new(2), old, Start::At(Seq::new(1)));
    shard.connections.control(old, super::kit::answer(1, 1)).unwrap();
    shard.connections.finish(old, super::kit::answer(2, 1));
    shard.append(2, 1, 10);
    shard.connections.remove(old);
    shard.settle();
    assert_eq!(shard.got(second), []);
    assert_eq!(shard.connections.count(), 1);
}
