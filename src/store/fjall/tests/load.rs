//! More than it can take, and a database that stopped taking writes.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::store::{on_disk, seqs};
use crate::store::contract::{Recorder, Rig, Told, run_of};
use crate::store::fjall::options::{BACKLOG_EVENTS_MAX, CAPABILITIES};
use crate::store::log::{ChannelLog, Group, Run, Sink, StoreError, Undone};

/// A sink that stands still at the first group until it is told to go on.
#[derive(Default)]
struct Gate {
    open: Mutex<(bool, bool)>,
    changed: Condvar,
    behind: Recorder,
}

impl Gate {
    fn wait_for_the_first_group(&self) {
        let open = self.open.lock().unwrap();
        drop(self.changed.wait_while(open, |(reached, _)| !*reached).unwrap());
    }

    fn go_on(&self) {
        self.open.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

impl Sink for Gate {
    fn durable(&self, group: Arc<Group>) {
        let mut open = self.open.lock().unwrap();
        open.0 = true;
        self.changed.notify_all();
        drop(self.changed.wait_while(open, |(_, open)| !*open).unwrap());
        self.behind.durable(group);
    }

    fn undone(&self, run: Run, why: Undone) {
        self.behind.undone(run, why);
    }
}

#[test]
fn beyond_the_backlog_appends_are_refused_and_the_rest_is_stored() {
    let store = on_disk(1);
    let gate = Arc::new(Gate::default());
    let log = store.open(gate.clone()).unwrap();
    log.append(run_of(1, 0, 1));
    gate.wait_for_the_first_group();
    let largest = CAPABILITIES.run_events_max;
    let fits = BACKLOG_EVENTS_MAX / largest;
    for channel in 2..2 + fits as u64 {
        log.append(run_of(channel, 0, largest as u64));
    }
    log.append(run_of(100, 0, 1));
    match &gate.behind.take(1)[..] {
        [Told::Undone(run, Undone::Refused(why))] => {
            assert_eq!(run.channel.get(), 100);
            assert!(matches!(**why, StoreError::Busy { .. }), "{why}");
        }
        told => panic!("{told:?}"),
    }
    gate.go_on();
    for told in gate.behind.take(1 + fits) {
        let Told::Durable(group) = told else { panic!("{told:?}") };
        assert!(group.runs.iter().map(|run| run.events.len()).sum::<usize>() <= 2 * largest);
    }
    log.append(run_of(100, 0, 1));
    assert_eq!(gate.behind.take(1).len(), 1, "there is room again");
    assert_eq!(seqs(&log, 100), [1]);
}

#[test]
fn a_database_that_stopped_taking_writes_is_noticed_without_any_append() {
    let store = on_disk(1);
    let told = Arc::new(Recorder::default());
    let log = store.open(told.clone()).unwrap();
    log.append(run_of(4, 0, 3));
    told.take(1);
    // The flush in the background finds no directory, and poisons the database.
    let events = log.tables(0).events.clone();
    std::fs::remove_dir_all(events.path()).unwrap();
    events.rotate_memtable().unwrap();
    drop(events);
    let began = Instant::now();
    while log.writable().is_ok() {
        assert!(began.elapsed() < Duration::from_secs(60), "nobody noticed");
        std::thread::sleep(Duration::from_millis(5));
    }
    log.append(run_of(4, 3, 1));
    match &told.take(1)[..] {
        [Told::Undone(_, Undone::Refused(why))] => {
            assert!(matches!(**why, StoreError::Stopped { .. }), "{why}");
        }
        told => panic!("{told:?}"),
    }
    assert_eq!(seqs(&log, 4), [1, 2, 3], "reading goes on");
}

/// A sink with a bug.
#[derive(Default)]
struct Buggy(Recorder);

impl Sink for Buggy {
    fn durable(&self, _: Arc<Group>) {
        panic!("on purpose");
    }

    fn undone(&self, run: Run, why: Undone) {
        self.0.undone(run, why);
    }
}

#[test]
fn a_sink_that_panics_stops_the_store_instead_of_leaving_appends_without_an_outcome() {
    let store = on_disk(1);
    let sink = Arc::new(Buggy::default());
    let log = store.open(sink.clone()).unwrap();
    for channel in 1..=100 {
        log.append(run_of(channel, 0, 1));
    }
    log.close();
    assert!(log.writable().is_err());
    log.append(run_of(101, 0, 1));
    let told = sink.0.take(1);
    let refused = |told: &Told| matches!(told, Told::Undone(_, Undone::Refused(_)));
    assert!(told.iter().all(refused), "{told:?}");
}

#[test]
fn appends_from_many_threads_keep_each_channels_order() {
    let store = on_disk(1);
    let rig = Rig::start(&store);
    std::thread::scope(|scope| {
        for channel in 1..=8 {
            let log = &rig.log;
            scope.spawn(move || {
                for head in 0..50 {
                    log.append(run_of(channel, head, 1));
                }
            });
        }
    });
    for told in rig.told.take(8 * 50) {
        assert!(matches!(told, Told::Durable(_)), "{told:?}");
    }
    for channel in 1..=8 {
        assert_eq!(seqs(&*rig.log, channel), (1..=50).collect::<Vec<_>>());
    }
}
