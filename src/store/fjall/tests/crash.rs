//! Killed while it is made, and while it commits: this test program starts itself as the victim.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use damso_proto::id::{ChannelNo, Seq};

use super::store::{ALL, OnDisk};
use crate::runtime::random::{Random as _, SeededRandom};
use crate::store::contract::{Recorder, Rig, run_of, text_event};
use crate::store::log::{ChannelLog, Group, Run, Sink, Undone};

const DIRECTORY: &str = "DAMSO_TEST_VICTIM_DIRECTORY";
const CHANNELS: u64 = 8;

/// A text that only this event has; of many lengths, some of them in parts.
fn text(channel: u64, seq: u64) -> String {
    let len = (channel * 7_919 + seq * 104_729) % 4_000;
    format!("{channel}/{seq} {}", "x".repeat(usize::try_from(len).unwrap()))
}

fn run(channel: u64, head: u64, count: u64) -> Run {
    let event = |seq| text_event(channel, seq, &text(channel, seq)).keyed(7, seq, 1);
    Run { events: (head + 1..=head + count).map(event).collect(), ..run_of(channel, head, 0) }
}

/// Prints what is durable, and sends the channels' next runs.
struct Victim {
    log: std::sync::Mutex<Option<Arc<dyn ChannelLog>>>,
}

impl Sink for Victim {
    fn durable(&self, group: Arc<Group>) {
        let mut out = std::io::stdout().lock();
        for run in &group.runs {
            let (channel, _, last) = run.range();
            writeln!(out, "durable {channel} {last}").unwrap();
        }
        out.flush().unwrap();
        let log = self.log.lock().unwrap();
        for (channel, _, last) in group.runs.iter().map(Run::range) {
            let count = 1 + last.get() % 5;
            log.as_ref().unwrap().append(run(channel.get(), last.get(), count));
        }
    }

    fn undone(&self, run: Run, why: Undone) {
        panic!("{run:?}: {why}");
    }
}

#[test]
#[ignore = "a child process of the tests below"]
fn victim() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    // libtest begins a line of its own.
    println!("\nopening");
    let sink = Arc::new(Victim { log: std::sync::Mutex::default() });
    let store = OnDisk::at(directory.as_ref());
    let log: Arc<dyn ChannelLog> = Arc::new(store.open(sink.clone()).unwrap());
    *sink.log.lock().unwrap() = Some(log.clone());
    for channel in 1..=CHANNELS {
        let head = log.open(ChannelNo::new(channel), 0).unwrap().head.seq.get();
        log.append(run(channel, head, 1));
    }
    loop {
        std::thread::park();
    }
}

/// Starts the victim and waits until it is about to open the store.
fn start(directory: &std::path::Path) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["store::fjall::tests::crash::victim", "--exact", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "opening"), "the victim did not start");
    (child, lines)
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_store_killed_while_it_is_made_opens_the_next_time() {
    let random = SeededRandom::new(1);
    for cycle in 0..25 {
        let directory = tempfile::tempdir().unwrap();
        let (child, _lines) = start(directory.path());
        // Any moment will do: this waits for nothing.
        std::thread::sleep(Duration::from_micros(random.number() % 40_000));
        kill(child);
        let store = OnDisk::at(directory.path());
        let log = store.open(Arc::new(Recorder::default()));
        assert!(log.is_ok(), "cycle {cycle}: {:?}", log.err());
        let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 2, "beside store and lock: {left:?}");
    }
}

#[test]
fn what_was_told_durable_is_there_after_kill_9() {
    let random = SeededRandom::new(2);
    let directory = tempfile::tempdir().unwrap();
    let store = OnDisk::at(directory.path());
    let mut durable = BTreeMap::new();
    for cycle in 0..12 {
        let (child, mut lines) = start(directory.path());
        let mut note = |line: String| {
            let mut words = line.split(' ');
            if let (Some("durable"), Some(channel), Some(seq)) =
                (words.next(), words.next(), words.next())
            {
                durable.insert(channel.parse::<u64>().unwrap(), seq.parse::<u64>().unwrap());
            }
        };
        let count = usize::try_from(20 + random.number() % 400).unwrap();
        lines.by_ref().take(count).for_each(&mut note);
        kill(child);
        // The last line may be cut: it was not told then.
        let mut rest: Vec<_> = lines.collect();
        rest.pop();
        rest.into_iter().for_each(&mut note);

        let log = store.open(Arc::new(Recorder::default())).unwrap();
        for (channel, seq) in &durable {
            check(&log, cycle, *channel, *seq);
        }
    }
    let rig = Rig::start(&store);
    let head = rig.log.heads(&[ChannelNo::new(1)]).unwrap()[0].seq.get();
    rig.store(run(1, head, 3));
}

/// A channel is whole up to its head, which is not below what was told.
fn check(log: &dyn ChannelLog, cycle: u64, channel: u64, told: u64) {
    let opened = log.open(ChannelNo::new(channel), 0).unwrap();
    let events = log.read(ChannelNo::new(channel), ALL).unwrap();
    let head = opened.head.seq;
    assert!(head >= Seq::new(told), "cycle {cycle}, channel {channel}: {head} of {told}");
    assert_eq!(events.len() as u64, head.get());
    assert_eq!(opened.keys.len() as u64, head.get());
    for (event, seq) in events.iter().zip(1..) {
        let expected = text_event(channel, seq, &text(channel, seq));
        assert_eq!(event.seq.get(), seq);
        assert_eq!(event.event, expected.encoded.event(), "channel {channel}, seq {seq}");
    }
}
