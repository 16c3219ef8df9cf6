//! Coming back: one flight up, and everything that was missed comes down, in order, once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use damso_proto::id::Key;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::event::Content;
use damso_proto::wire::server_frame::Kind as Said;
use damso_proto::wire::standing::State;

use super::raw::{Raw, cursors, fresh_key, text};
use super::server::{Local, UNBOUND};

/// Channels of the person who has many, and those of them that changed.
const MANY: usize = 3_000;
const CHANGED: usize = 300;
/// Times that a device comes back while others send.
const RETURNS: usize = 100;
/// Requests that are asked without waiting for answers.
const IN_FLIGHT: usize = 64;

/// What a device holds: the last seq of each channel, and the epoch.
struct Device {
    string: String,
    name: &'static str,
    epoch: u64,
    user: u64,
    seqs: BTreeMap<u64, u64>,
}

impl Device {
    /// A device that comes for the first time, and takes everything as told.
    fn first(server: &Local, uid: &str, name: &'static str) -> (Self, Raw) {
        let string = server.string(uid);
        let (raw, heard) = Raw::log_in(&string, name, Default::default());
        let Some(Said::Welcome(welcome)) = heard.first() else { panic!("Welcome comes first") };
        let (epoch, user) = (welcome.epoch, welcome.user);
        let mut device = Self { string, name, epoch, user, seqs: BTreeMap::new() };
        device.seqs.insert(device.own(), 0);
        heard.iter().for_each(|said| device.take(said));
        (device, raw)
    }

    fn own(&self) -> u64 {
        2 * self.user + 1
    }

    /// Holds what it is told.
    fn take(&mut self, said: &Said) {
        let (channel, seq) = match said {
            Said::Event(event) => (event.channel, event.seq),
            Said::Standing(standing) if standing.state() == State::New => {
                (standing.channel, standing.from - 1)
            }
            _ => return,
        };
        self.seqs.insert(channel, seq);
    }

    fn resume(&self) -> wire::Resume {
        let seqs: Vec<_> = self.seqs.iter().map(|(channel, seq)| (*channel, *seq)).collect();
        cursors(&seqs, self.epoch)
    }

    fn come_back(&self) -> (Raw, Vec<Said>) {
        Raw::log_in(&self.string, self.name, self.resume())
    }
}

/// Asks all of it with some in flight; the answers in order.
fn ask_all(raw: &mut Raw, asks: impl IntoIterator<Item = Ask>) -> Vec<Said> {
    let mut asks = asks.into_iter();
    let mut waiting = VecDeque::new();
    let mut answers = BTreeMap::new();
    loop {
        while waiting.len() < IN_FLIGHT {
            let Some(ask) = asks.next() else { break };
            waiting.push_back(raw.post(ask, fresh_key()).expect("a request goes out"));
        }
        if waiting.is_empty() {
            return answers.into_values().collect();
        }
        let frame = raw.next_frame().expect("an answer");
        if let Some(at) = waiting.iter().position(|id| *id == frame.id) {
            waiting.remove(at);
            answers.insert(frame.id, frame.kind.expect("a known kind"));
        }
    }
}

fn groups(raw: &mut Raw, count: usize, uid: &str) -> Vec<u64> {
    let uids = vec![uid.to_owned()];
    let ask = |number| {
        Ask::CreateChannel(wire::CreateChannel {
            name: format!("group {number}"),
            uids: uids.clone(),
            ..Default::default()
        })
    };
    let made = ask_all(raw, (0..count).map(ask)).into_iter().map(|answer| match answer {
        Said::Channel(info) => info.channel,
        other => panic!("expected a channel, heard {other:?}"),
    });
    made.collect()
}

/// Sends so many texts of this length into a channel; the last seq.
fn send(raw: &mut Raw, channel: u64, count: usize, bytes: usize) -> u64 {
    let body = "x".repeat(bytes);
    let answers = ask_all(raw, (0..count).map(|_| text(channel, &body)));
    let seqs = answers.into_iter().map(|answer| match answer {
        Said::Ack(ack) => ack.seq,
        other => panic!("expected an ack, heard {other:?}"),
    });
    seqs.last().expect("at least one")
}

fn standings(heard: &[Said]) -> Vec<&wire::Standing> {
    heard
        .iter()
        .filter_map(|said| if let Said::Standing(standing) = said { Some(standing) } else { None })
        .collect()
}

/// The seqs of a channel's events, as they came.
fn seqs_of(heard: &[Said], channel: u64) -> Vec<u64> {
    let seq = |said: &Said| match said {
        Said::Event(event) if event.channel == channel => Some(event.seq),
        _ => None,
    };
    heard.iter().filter_map(seq).collect()
}

#[test]
fn three_thousand_channels_come_back_in_one_round_trip() {
    let server = Local::start(&UNBOUND);
    drop(Device::first(&server, "many", "d"));
    let (_, mut sender) = Device::first(&server, "sender", "s");
    let begun = Instant::now();
    let made = groups(&mut sender, MANY, "many");
    println!("{MANY} groups made in {:?}", begun.elapsed());

    let (mut device, raw) = Device::first(&server, "many", "d");
    println!("first time, {MANY} channels: {} bytes up, {} down", raw.sent, raw.received);
    drop(raw);
    assert_eq!(device.seqs.len(), MANY + 1);
    // Own log: more than a replay holds. The device has read it from history.
    device.seqs.insert(device.own(), MANY as u64);

    let changed: Vec<_> = made.iter().copied().step_by(MANY / CHANGED).collect();
    ask_all(&mut sender, changed.iter().map(|channel| text(*channel, "you have missed this")));
    let begun = Instant::now();
    let (raw, heard) = device.come_back();
    println!(
        "{CHANGED} of {MANY} channels changed: {} bytes up, {} bytes down, {:?}",
        raw.sent,
        raw.received,
        begun.elapsed()
    );
    let told = standings(&heard);
    assert_eq!(told.len(), CHANGED, "only what changed is named");
    assert!(told.iter().all(|standing| standing.state() == State::Tail));
    for channel in &changed {
        assert_eq!(seqs_of(&heard, *channel), [2]);
    }
    let resumed = wire::Resumed { channels: u32::try_from(MANY).expect("few") };
    assert_eq!(heard.last(), Some(&Said::Resumed(resumed)));
    assert_eq!(heard.len(), 2 + 2 * CHANGED, "Welcome, a standing and an event each, Resumed");
    // Nothing changed: what it costs to ask.
    heard.iter().for_each(|said| device.take(said));
    let (raw, heard) = device.come_back();
    println!("nothing changed: {} bytes up, {} bytes down", raw.sent, raw.received);
    assert_eq!(heard.len(), 2, "Welcome and Resumed");
}

#[test]
fn each_channel_is_told_how_it_stands_own_log_first_then_newest_activity() {
    let server = Local::start(&UNBOUND);
    drop(Device::first(&server, "zoe", "z"));
    let (_, mut sender) = Device::first(&server, "sender", "s");
    let made = groups(&mut sender, 5, "zoe");
    let [current, tail, behind, gone, ahead] = made[..] else { panic!("five groups") };
    let (mut zoe, raw) = Device::first(&server, "zoe", "z");
    drop(raw);
    let own = zoe.own();
    zoe.seqs.insert(ahead, 9);
    assert_eq!(send(&mut sender, behind, 1_001, 10), 1_002);
    assert_eq!(send(&mut sender, tail, 1_000, 10), 1_001);
    let new = groups(&mut sender, 1, "zoe")[0];
    assert_eq!(send(&mut sender, new, 30, 10), 31);
    let ask = Ask::RemoveMember(wire::RemoveMember { channel: gone, user: zoe.user });
    assert!(matches!(sender.ask(ask).0, Said::Done(_)));

    let (mut raw, heard) = zoe.come_back();
    let told: Vec<_> = standings(&heard)
        .iter()
        .map(|told| (told.channel, told.state(), told.from, told.to, told.head))
        .collect();
    let expected = [
        // Added to six channels, removed from one.
        (own, State::Tail, 6, 7, 7),
        (new, State::New, 12, 31, 31),
        (tail, State::Tail, 2, 1_001, 1_001),
        (behind, State::Behind, 2, 1_002, 1_002),
        (ahead, State::RolledBack, 0, 1, 1),
        (gone, State::Gone, 0, 0, 0),
    ];
    assert_eq!(told, expected);
    let range = |from: u64, to: u64| (from..=to).collect::<Vec<_>>();
    assert_eq!(seqs_of(&heard, own), [6, 7]);
    assert_eq!(seqs_of(&heard, new), range(12, 31));
    assert_eq!(seqs_of(&heard, tail), range(2, 1_001));
    for silent in [behind, ahead, gone, current] {
        assert_eq!(seqs_of(&heard, silent), [0; 0]);
    }
    let info = standings(&heard)[1].info.as_ref().expect("what the new channel is");
    assert_eq!((info.channel, &*info.name, info.from, info.head), (new, "group 0", 1, 31));
    // Each event stands behind its channel's standing and before the next one.
    let mut open = None;
    for said in &heard {
        match said {
            Said::Standing(standing) => open = Some(standing.channel),
            Said::Event(event) => assert_eq!(Some(event.channel), open),
            _ => {}
        }
    }
    // All of them go on live, whatever they were told.
    for (channel, seq) in [(current, 2), (tail, 1_002), (behind, 1_003), (ahead, 2), (new, 32)] {
        assert_eq!(send(&mut sender, channel, 1, 10), seq);
        let event = raw.event();
        assert_eq!((event.channel, event.seq), (channel, seq));
    }
    let answers = ask_all(&mut sender, [text(gone, "x"), text(current, "the end")]);
    assert!(answers.iter().all(|answer| matches!(answer, Said::Ack(_))));
    assert_eq!(raw.event().channel, current, "what is gone stays silent");
}

#[test]
fn what_does_not_fit_into_a_resume_is_behind() {
    let server = Local::start(&UNBOUND);
    drop(Device::first(&server, "zoe", "z"));
    let (_, mut sender) = Device::first(&server, "sender", "s");
    let made = groups(&mut sender, 6, "zoe");
    let (zoe, raw) = Device::first(&server, "zoe", "z");
    drop(raw);
    for channel in &made {
        // 80 KiB each: three of them are in the budget.
        assert_eq!(send(&mut sender, *channel, 5, 16 * 1_024), 6);
    }
    let (mut raw, heard) = zoe.come_back();
    let told: Vec<_> =
        standings(&heard).iter().map(|told| (told.channel, told.state(), told.from)).collect();
    let newest_first = made.iter().rev().zip(0..);
    let expected: Vec<_> = newest_first
        .map(|(channel, place)| {
            let state = if place < 3 { State::Tail } else { State::Behind };
            (*channel, state, 2)
        })
        .collect();
    assert_eq!(told, expected);
    for (channel, state, _) in told {
        let came = seqs_of(&heard, channel);
        assert_eq!(came.len(), if state == State::Tail { 5 } else { 0 });
        let direction = wire::read_history::Direction::After.into();
        let ask = wire::ReadHistory { channel, seq: 1, direction, rows: 0 };
        let pages = raw.pages(Ask::ReadHistory(ask));
        let rows = pages.iter().flat_map(|page| &page.rows).flat_map(|row| &row.event);
        assert!(rows.map(|event| event.seq).eq(2..=6), "all of it stands in history");
        send(&mut sender, channel, 1, 1);
        let event = raw.event();
        assert_eq!((event.channel, event.seq), (channel, 7), "and it goes on live");
    }
}

/// Sends into all of these channels in turn until told to stop.
fn keep_sending(mut raw: Raw, channels: &[u64], stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let answers = ask_all(&mut raw, channels.iter().map(|channel| text(*channel, "on")));
        assert!(answers.iter().all(|answer| matches!(answer, Said::Ack(_))));
    }
}

#[test]
fn a_device_that_comes_back_while_others_send_has_one_run_of_each_channel() {
    let server = Local::start(&UNBOUND);
    drop(Device::first(&server, "zoe", "one"));
    let (_, mut first) = Device::first(&server, "first", "s");
    let (_, mut second) = Device::first(&server, "second", "s");
    let channels = [groups(&mut first, 4, "zoe"), groups(&mut second, 4, "zoe")];
    let (mut device, raw) = Device::first(&server, "zoe", "one");
    drop(raw);
    // The other device stays; what it has is what there was.
    let (mut other, mut stays) = Device::first(&server, "zoe", "other");
    let stop = AtomicBool::new(false);
    let replayed = thread::scope(|scope| {
        let mut senders = vec![];
        for (raw, channels) in [first, second].into_iter().zip(&channels) {
            senders.push(scope.spawn(|| keep_sending(raw, channels, &stop)));
        }
        let mut replayed = 0;
        for round in 0..RETURNS {
            let (mut raw, heard) = device.come_back();
            replayed += heard.iter().filter(|said| matches!(said, Said::Event(_))).count();
            // Some of what is live, and away again, wherever that cuts.
            let live = (0..round % 40).map(|_| raw.next().expect("events keep coming"));
            for said in heard.into_iter().chain(live) {
                let Said::Event(event) = &said else { continue };
                let had = device.seqs.get(&event.channel).copied();
                assert_eq!(had.map(|seq| seq + 1), Some(event.seq), "round {round}: {event:?}");
                device.take(&said);
            }
        }
        stop.store(true, Ordering::Relaxed);
        senders.into_iter().for_each(|sender| sender.join().expect("a sender"));
        replayed
    });
    let (_, heard) = device.come_back();
    heard.iter().for_each(|said| device.take(said));
    while device.seqs.iter().any(|(channel, seq)| other.seqs.get(channel) < Some(seq)) {
        let said = stays.next().expect("the other device misses nothing");
        let Said::Event(event) = &said else { continue };
        assert_eq!(other.seqs.get(&event.channel).map(|seq| seq + 1), Some(event.seq));
        other.take(&said);
    }
    assert_eq!(device.seqs, other.seqs, "both devices hold the same");
    let total: u64 = device.seqs.values().sum();
    println!("{RETURNS} returns: {replayed} of {total} events came as replay");
    assert!(replayed > 0, "something was missed in between");
}

#[test]
fn two_devices_of_one_person_each_get_everything_one_of_them_sends() {
    let server = Local::start(&UNBOUND);
    let (_, mut phone) = Device::first(&server, "zoe", "phone");
    let (mut desk, mut at_desk) = Device::first(&server, "zoe", "desk");
    let channel = groups(&mut phone, 1, "zoe")[0];
    loop {
        let said = at_desk.next().expect("news of the group");
        desk.take(&said);
        if seqs_of(&[said], channel) == [1] {
            break;
        }
    }
    drop(at_desk);
    send(&mut phone, channel, 10, 10);
    let (mut at_desk, heard) = desk.come_back();
    assert_eq!(seqs_of(&heard, channel), (2..=11).collect::<Vec<_>>());
    let ask = text(channel, "from the desk");
    let (answer, before) = at_desk.ask(ask);
    let Said::Ack(ack) = answer else { panic!("an ack, not {answer:?}") };
    let echo = before.into_iter().next().unwrap_or_else(|| at_desk.event());
    assert_eq!((ack.seq, echo.seq), (12, 12), "the sender's own device gets its event, too");
    let heard = phone.fence().expect("the phone is here");
    let came = |event: &wire::Event| event.seq == 12 && event.channel == channel;
    let seen = heard.iter().any(|frame| matches!(&frame.kind, Some(Said::Event(e)) if came(e)));
    assert!(seen || came(&phone.event()));
}

#[test]
fn sends_whose_answer_never_came_are_told_of_before_anything_else() {
    let server = Local::start(&UNBOUND);
    let (_, mut raw) = Device::first(&server, "zoe", "z");
    let channel = groups(&mut raw, 1, "zoe")[0];
    let (stored, never) = (fresh_key(), fresh_key());
    let old = Key::new(stored.unix_ms() - 8 * 24 * 3_600 * 1_000, [3; 10]);
    let Said::Ack(ack) = raw.ask_with(text(channel, "stored"), stored).0 else { panic!("an ack") };
    drop(raw);
    let pending = [stored, never, old]
        .map(|key| wire::PendingSend { channel, key: Bytes::copy_from_slice(key.as_bytes()) });
    let resume = wire::Resume { pending: pending.to_vec(), ..Default::default() };
    let (_, heard) = Raw::log_in(&server.string("zoe"), "z", resume);
    let Some(Said::Outcomes(outcomes)) = heard.get(1) else { panic!("behind Welcome: {heard:?}") };
    let told: Vec<_> =
        outcomes.outcomes.iter().map(|told| (told.seq, told.id, told.expired)).collect();
    assert_eq!(told, [(ack.seq, ack.id, false), (0, 0, false), (0, 0, true)]);
    let is_text = |said: &Said| match said {
        Said::Event(event) => matches!(event.content, Some(Content::Text(_))),
        _ => false,
    };
    assert_eq!(heard.iter().filter(|said| is_text(said)).count(), 1);
}
