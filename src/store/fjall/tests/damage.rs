//! Journals, tables, rows and watermarks that are not what was written.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use damso_proto::id::{ChannelNo, Seq};

use super::store::{ALL, OnDisk, on_disk, seqs};
use crate::store::contract::{Rig, run_of};
use crate::store::fjall::{Sync, key, row};
use crate::store::log::{ChannelLog, Order, Range, StoreError};

const CHANNEL: ChannelNo = ChannelNo::new(4);

/// Stores events `from + 1` to `to` of channel 4, one group each, and stops cleanly.
fn store_groups(store: &OnDisk, from: u64, to: u64) {
    let rig = Rig::start(store);
    for head in from..to {
        rig.store(run_of(4, head, 1));
    }
    rig.log.close();
}

/// The journal with its length in written bytes.
fn journal(store: &OnDisk) -> (PathBuf, usize) {
    let entries = fs::read_dir(store.path("db")).unwrap().map(|entry| entry.unwrap().path());
    let mut journals: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "jnl")).collect();
    journals.sort();
    let path = journals.pop().unwrap();
    let bytes = fs::read(&path).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (path, written)
}

fn overwrite(path: &PathBuf, at: usize, bytes: &[u8]) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, at as u64).unwrap();
}

#[test]
fn a_zeroed_journal_page_is_noticed_and_the_journal_is_kept_as_it_was() {
    let store = on_disk(1);
    store_groups(&store, 0, 100);
    store.pretend_crash();
    let (path, written) = journal(&store);
    overwrite(&path, written / 2 / 4_096 * 4_096, &[0; 4_096]);
    let damaged = fs::read(&path).unwrap();

    let why = store.refusal();
    let copies = store.journal_copies();
    let copy = copies[0].join(path.file_name().unwrap());
    assert!(fs::read(&copy).unwrap() == damaged, "the copy is not the journal before recovery");
    assert!(fs::read(&path).unwrap() != damaged, "recovery left the journal alone after all");
    for part in [
        "groups",
        "to 100 are missing",
        &copies[0].display().to_string(),
        "restore the newest backup copy",
        "epoch by one",
    ] {
        assert!(why.contains(part), "{part:?} is missing in {why:?}");
    }

    assert_eq!(store.refusal(), why, "the verdict stands");
    assert_eq!(store.journal_copies(), copies, "later starts leave the evidence alone");
}

#[test]
fn a_flipped_bit_in_the_journal_is_never_served_with_less() {
    let store = on_disk(1);
    store_groups(&store, 0, 20);
    let (path, written) = journal(&store);
    let intact = fs::read(&path).unwrap();
    for at in (0..written).step_by(written / 40) {
        let _ = fs::remove_file(store.path("unfit"));
        fs::write(&path, &intact).unwrap();
        store.pretend_crash();
        overwrite(&path, at, &[intact[at] ^ 4]);
        match store.open(std::sync::Arc::new(crate::store::contract::Recorder::default())) {
            Ok(log) => assert_eq!(seqs(&log, 4), (1..=20).collect::<Vec<_>>(), "byte {at}"),
            Err(StoreError::Unfit(_)) => {}
            Err(why) => panic!("byte {at}: {why}"),
        }
    }
}

#[test]
fn a_torn_group_that_nobody_was_promised_does_not_keep_the_store_from_opening() {
    let store = on_disk(1);
    store_groups(&store, 0, 9);
    let watermark = fs::read(store.path("watermark")).unwrap();
    let (path, before) = journal(&store);
    store_groups(&store, 9, 10);
    let (_, written) = journal(&store);
    let intact = fs::read(&path).unwrap();
    assert!(written > before);
    for end in (before..written).step_by((written - before) / 20) {
        fs::write(&path, &intact).unwrap();
        fs::write(store.path("watermark"), &watermark).unwrap();
        store.pretend_crash();
        overwrite(&path, end, &vec![0; written - end]);
        let rig = Rig::start(&store);
        assert_eq!(seqs(&*rig.log, 4), (1..=9).collect::<Vec<_>>(), "torn at byte {end}");
        rig.store(run_of(4, 9, 1));
        rig.log.close();
    }
}

#[test]
fn a_lost_end_of_the_journal_is_noticed_unless_syncing_is_skipped() {
    for (sync, served) in [(Sync::Data, false), (Sync::SkipForTests, true)] {
        let mut store = on_disk(1);
        store.options.sync = sync;
        store_groups(&store, 0, 5);
        let (path, _) = journal(&store);
        let earlier = fs::read(&path).unwrap();
        store_groups(&store, 5, 9);
        fs::write(&path, earlier).unwrap();
        if served {
            let rig = Rig::start(&store);
            assert_eq!(seqs(&*rig.log, 4), (1..=5).collect::<Vec<_>>());
        } else {
            let why = store.refusal();
            assert!(why.contains("groups 6 to 9 are missing"), "{why}");
        }
    }
}

#[test]
fn without_a_readable_watermark_nothing_is_served() {
    let check = |expected, damage: fn(&PathBuf)| {
        let store = on_disk(1);
        store_groups(&store, 0, 3);
        damage(&store.path("watermark"));
        let why = store.refusal();
        assert!(why.contains("watermark") && why.contains(expected), "{why}");
    };
    check("is damaged", |path| overwrite(path, 0, &[0; 8_192]));
    check("is damaged", |path| fs::write(path, []).unwrap());
    check("is missing", |path| fs::remove_file(path).unwrap());
}

#[test]
fn keyspaces_that_disagree_are_not_served() {
    let store = on_disk(1);
    store_groups(&store, 0, 9);
    {
        let tables = store.tables();
        let last = row::LastGroup { number: 5, ..Default::default() };
        let mut batch = tables.batch(1);
        batch.insert(&tables.keys, key::LAST_GROUP, row::encode_last(&key::LAST_GROUP, last));
        batch.commit().unwrap();
    }
    let why = store.refusal();
    for part in ["groups 6 to 9 are missing", "events 9", "keys 5"] {
        assert!(why.contains(part), "{part:?} is missing in {why:?}");
    }
}

#[test]
fn the_last_two_copies_of_journals_are_kept_and_a_clean_stop_makes_none() {
    let store = on_disk(1);
    store_groups(&store, 0, 3);
    store_groups(&store, 3, 4);
    assert!(store.journal_copies().is_empty());
    for at in 4..8 {
        store.pretend_crash();
        store_groups(&store, at, at + 1);
    }
    let names: Vec<_> =
        store.journal_copies().iter().map(|path| path.file_name().unwrap().to_owned()).collect();
    assert_eq!(names, ["journals-3", "journals-4"]);
}

/// Checks what reading says around damaged seqs, of 1 to 200 in channel 4.
fn check_damage(log: &dyn ChannelLog, from: u64, to: u64) {
    let rising = |from| log.read(CHANNEL, Range { from: Seq::new(from), ..ALL });
    let falling = |to| log.read(CHANNEL, Range { to: Seq::new(to), order: Order::Falling, ..ALL });
    let bounds = |read: Result<Vec<crate::store::log::StoredEvent>, StoreError>| match read {
        Ok(events) => Ok((events[0].seq.get(), events[events.len() - 1].seq.get())),
        Err(StoreError::Damaged { channel: CHANNEL, from, to }) => Err((from.get(), to.get())),
        Err(why) => panic!("{why}"),
    };
    assert_eq!(bounds(rising(1)), Ok((1, from - 1)), "a page ends before the damage");
    assert_eq!(bounds(rising(from)), Err((from, to)), "then it is named");
    assert_eq!(bounds(rising(to + 1)), Ok((to + 1, 200)), "and all after it is readable");
    assert_eq!(bounds(falling(200)), Ok((to + 1, 200)));
    assert_eq!(bounds(falling(to)), Err((from, to)));
    assert_eq!(bounds(falling(from - 1)), Ok((1, from - 1)));
}

#[test]
fn a_damaged_or_missing_record_is_named_and_others_are_read() {
    let store = on_disk(1);
    let rig = Rig::start(&store);
    rig.store(run_of(4, 0, 200));
    rig.log.close();
    drop(rig);
    {
        let tables = store.tables();
        let mut batch = tables.batch(3);
        let damaged = key::event(CHANNEL, Seq::new(50));
        let mut row = tables.events.get(damaged).unwrap().unwrap().to_vec();
        *row.last_mut().unwrap() ^= 1;
        batch.insert(&tables.events, damaged, row);
        batch.remove(&tables.events, key::event(CHANNEL, Seq::new(51)));
        batch.insert(&tables.events, key::event(CHANNEL, Seq::new(52)), []);
        batch.commit().unwrap();
    }
    let rig = Rig::start(&store);
    check_damage(&*rig.log, 50, 52);
    rig.store(run_of(4, 200, 1));
}

#[test]
fn a_missing_end_is_noticed_when_the_channel_is_opened() {
    let store = on_disk(1);
    store_groups(&store, 0, 3);
    {
        let tables = store.tables();
        let mut batch = tables.batch(1);
        batch.remove(&tables.events, key::event(CHANNEL, Seq::new(3)));
        batch.commit().unwrap();
    }
    let rig = Rig::start(&store);
    let opened = rig.log.open(CHANNEL, 0);
    assert!(matches!(opened, Err(StoreError::Damaged { .. })), "{opened:?}");
}

/// The largest file below a directory.
fn largest_file(directory: PathBuf) -> PathBuf {
    let (mut directories, mut files) = (vec![directory], Vec::new());
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                directories.push(entry.path());
            } else {
                files.push((entry.metadata().unwrap().len(), entry.path()));
            }
        }
    }
    files.sort();
    files.pop().unwrap().1
}

#[test]
fn a_damaged_block_of_a_table_takes_only_its_own_events_down() {
    let store = on_disk(1);
    let rig = Rig::start(&store);
    let mut run = run_of(4, 0, 0);
    let text = "x".repeat(2_000);
    run.events = (1..=200).map(|seq| crate::store::contract::text_event(4, seq, &text)).collect();
    rig.store(run);
    rig.log.close();
    drop(rig);
    store.tables().events.rotate_memtable_and_wait().unwrap();
    let table = largest_file(store.path("db/keyspaces"));
    assert!(fs::metadata(&table).unwrap().len() > 400_000, "{} is no table", table.display());
    overwrite(&table, 200_000, &[0xaa; 16]);

    let rig = Rig::start(&store);
    let first = rig.log.read(CHANNEL, ALL).unwrap().len() as u64;
    let from = Range { from: Seq::new(first + 1), ..ALL };
    match rig.log.read(CHANNEL, from) {
        Err(StoreError::Damaged { from, to, .. }) => {
            assert!(to.get() - from.get() < 20, "events {from} to {to} are more than a block");
            check_damage(&*rig.log, from.get(), to.get());
        }
        other => panic!("{other:?}"),
    }
}
