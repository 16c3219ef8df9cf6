//! History on disk: a durable commit by group size, the newest page, and opening after a crash.
//!
//! Groups are exact: the sink hands the next burst over while the committer is in it, so
//! that all of it has gathered when the committer looks. Beside the time of a group, the CPU
//! time of the whole process per message is printed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use damso::model::event::{EncodedEvent, Place};
use damso::runtime::clock::RealClock;
use damso::store::fjall::{FjallLog, Options};
use damso::store::log::{
    BodyHash, ChannelLog, Group, NewEvent, NewKey, Order, Range, Run, Sink, Undone,
};
use damso_proto::id::{ChannelNo, Key, MessageId, Seq, UserNo};
use damso_proto::time::Moment;
use damso_proto::wire;
use rustix::time::{ClockId, clock_gettime};

/// All benchmarks of this file.
pub(crate) fn benches(criterion: &mut Criterion) {
    append(criterion);
    read(criterion);
    start(criterion);
}

const VICTIM: &str = "DAMSO_BENCH_VICTIM_DIRECTORY";

/// Whether this process was started to be killed.
pub(crate) fn is_victim() -> bool {
    std::env::var_os(VICTIM).is_some()
}

/// Stores as much as is read later, and waits to be killed.
pub(crate) fn victim() {
    let directory = std::env::var_os(VICTIM).expect("checked before");
    let (channels, each) = rows();
    let bursts = Bursts::start(directory.as_ref(), channels);
    bursts.fill(channels * each);
    println!("stored");
    loop {
        std::thread::park();
    }
}

/// Channels and events in each, for reading and for starts.
fn rows() -> (usize, usize) {
    // The child is told by its parent's argument.
    if crate::is_test() { (10, 60) } else { (1_000, 1_000) }
}

/// Hands over burst after burst, each of `size` runs of one event.
struct Bursts {
    log: OnceLock<Arc<FjallLog>>,
    next: Mutex<Next>,
    done: Condvar,
    ids: AtomicU64,
}

struct Next {
    /// Heads of the channels, which take turns.
    heads: Vec<u64>,
    turn: usize,
    size: usize,
    groups_left: u64,
    commits: Vec<Duration>,
}

impl Bursts {
    fn start(directory: &Path, channels: usize) -> Arc<Self> {
        let next = Next {
            heads: vec![0; channels],
            turn: 0,
            size: 0,
            groups_left: 0,
            commits: Vec::new(),
        };
        let bursts = Arc::new(Self {
            log: OnceLock::new(),
            next: Mutex::new(next),
            done: Condvar::new(),
            ids: AtomicU64::new(1),
        });
        let options = Options::new(directory.join("history"));
        let log = FjallLog::open(&options, bursts.clone(), Arc::new(RealClock::new()));
        let _ = bursts.log.set(Arc::new(log.expect("a new store opens")));
        bursts
    }

    fn log(&self) -> &FjallLog {
        self.log.get().expect("set at the start")
    }

    /// Commits `groups` groups of `size` messages. Returns the time of all.
    fn run(&self, groups: u64, size: usize) -> Duration {
        let began = Instant::now();
        let mut next = self.next.lock().expect("no panic in the sink");
        next.groups_left = groups;
        next.size = size;
        // The first burst may be split: the committer is not held by anything.
        self.append(&mut next);
        drop(self.done.wait_while(next, |next| next.groups_left > 0));
        began.elapsed()
    }

    /// Stores so many messages, as fast as it goes: no burst has two of one channel.
    fn fill(&self, messages: usize) {
        let size = self.next.lock().expect("no panic in the sink").heads.len().min(500);
        self.run(messages.div_ceil(size) as u64, size);
    }

    fn append(&self, next: &mut Next) {
        for _ in 0..next.size {
            next.turn = (next.turn + 1) % next.heads.len();
            let head = &mut next.heads[next.turn];
            let channel = next.turn as u64 + 1;
            self.log().append(message(channel, *head, self.ids.fetch_add(1, Ordering::Relaxed)));
            *head += 1;
        }
    }
}

impl Sink for Bursts {
    fn durable(&self, group: Arc<Group>) {
        let mut next = self.next.lock().expect("no panic in the sink");
        next.commits.push(group.durable_at.since(group.committing_at));
        next.groups_left = next.groups_left.saturating_sub(1);
        if next.groups_left > 0 {
            self.append(&mut next);
        } else {
            self.done.notify_all();
        }
    }

    fn undone(&self, run: Run, why: Undone) {
        panic!("{run:?}: {why}");
    }
}

/// A message of 200 bytes with its key.
fn message(channel: u64, head: u64, id: u64) -> Run {
    let (channel, seq, id) = (ChannelNo::new(channel), Seq::new(head + 1), MessageId::new(id));
    let content = Some(wire::event::Content::Text("damso ".repeat(33)));
    let mut event = wire::Event { sender: 7, content, ..Default::default() };
    Place { channel, seq, id }.stamp(&mut event);
    let key = Key::new(id.get(), [id.get().to_le_bytes()[0]; 10]);
    let event = NewEvent {
        seq,
        id,
        encoded: EncodedEvent::new(&event),
        counted: true,
        key: Some(NewKey { user: UserNo::new(7), key, body: BodyHash(1) }),
        route: None,
        change: None,
        queued_at: Moment::default(),
    };
    Run { channel, expected_head: Seq::new(head), events: vec![event] }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("history/append");
    for size in [1_usize, 8, 64, 512] {
        let directory = tempfile::tempdir().expect("a directory");
        let bursts = Bursts::start(directory.path(), 10_000);
        group.throughput(Throughput::Elements(size as u64));
        let (before, mut messages) = (cpu(), 0);
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_custom(|groups| {
                messages += groups * size as u64;
                bursts.run(groups, size)
            });
        });
        let used = (cpu() - before).as_secs_f64() * 1e6;
        let mut commits = std::mem::take(&mut bursts.next.lock().expect("no panic").commits);
        commits.sort_unstable();
        let at = |share: usize| commits.get(commits.len() * share / 1_000).copied();
        println!(
            "group of {size}: {messages} messages, {:.1} us CPU each; commit p50 {:?}, p99 {:?}",
            used / messages.max(1) as f64,
            at(500).unwrap_or_default(),
            at(990).unwrap_or_default(),
        );
        bursts.log().close();
    }
}

fn read(criterion: &mut Criterion) {
    let (channels, each) = rows();
    let directory = tempfile::tempdir().expect("a directory");
    let bursts = Bursts::start(directory.path(), channels);
    bursts.fill(channels * each);
    let mut group = criterion.benchmark_group("history/read");
    for (name, over) in [("newest 50, hot", 10), ("newest 50, all channels", channels as u64)] {
        let mut turn = 0;
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                turn = (turn * 31 + 7) % over;
                let range = Range {
                    from: Seq::new(1),
                    to: Seq::MAX,
                    order: Order::Falling,
                    rows_max: 50,
                    bytes_max: 256 << 10,
                };
                let page = bursts.log().read(ChannelNo::new(turn + 1), range).expect("readable");
                assert_eq!(page.len(), 50);
            });
        });
    }
    group.bench_function("owner's open", |bencher| {
        bencher.iter(|| bursts.log().open(ChannelNo::new(1), u64::MAX).expect("readable"));
    });
    group.finish();
    bursts.log().close();
}

/// Starts on what a kill -9 left, in a fresh copy each time.
fn start(criterion: &mut Criterion) {
    let (channels, each) = rows();
    let directory = tempfile::tempdir().expect("a directory");
    kill_after_storing(directory.path());
    let mut group = criterion.benchmark_group("history/start");
    group.sample_size(10);
    group.bench_function(format!("after kill -9, {} rows", channels * each), |bencher| {
        let crashed = || {
            let copy = tempfile::tempdir().expect("a directory");
            copy_tree(&directory.path().join("history"), &copy.path().join("history"));
            copy
        };
        let open = |copy: tempfile::TempDir| {
            let options = Options::new(copy.path().join("history"));
            let opened = FjallLog::open(&options, Arc::new(Deaf), Arc::new(RealClock::new()));
            (opened.expect("it opens after a kill"), copy)
        };
        bencher.iter_batched(crashed, open, BatchSize::PerIteration);
    });
}

fn kill_after_storing(directory: &Path) {
    let mut child = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(if crate::is_test() { None } else { Some("--bench") })
        .env(VICTIM, directory)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts again");
    let out = BufReader::new(child.stdout.take().expect("piped"));
    assert!(out.lines().map_while(Result::ok).any(|line| line == "stored"));
    child.kill().expect("our own child");
    child.wait().expect("our own child");
}

/// A sink for a store that is only opened.
struct Deaf;

impl Sink for Deaf {
    fn durable(&self, _: Arc<Group>) {}
    fn undone(&self, _: Run, _: Undone) {}
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_tree(&from, &to);
        } else {
            std::fs::copy(from, to).expect("a copy");
        }
    }
}
