//! No space left, and the reserve before that. Needs root, for a file system of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use damso_proto::id::ChannelNo;

use super::store::{OnDisk, seqs};
use crate::store::contract::{Rig, Told, run_of, text_event};
use crate::store::log::{ChannelLog, Run, StoreError, Undone};

const MIB: u64 = 1 << 20;

/// A small tmpfs, unmounted at the end.
struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    /// `None`: not allowed here.
    fn mount() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "this test needs root, also in CI");
            eprintln!("skipped: needs root");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["-t", "tmpfs", "-o", "size=24m", "damso-test"];
        run("mount", &arguments, directory.path());
        Some(Self { directory })
    }

    fn enlarge(&self) {
        run("mount", &["-o", "remount,size=200m"], self.directory.path());
    }

    /// Leaves so many bytes free.
    fn fill(&self, free: u64) {
        let space = rustix::fs::statvfs(self.directory.path()).unwrap();
        let len = (space.f_bavail * space.f_frsize).saturating_sub(free);
        let ballast = File::create(self.ballast()).unwrap();
        rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), 0, len).unwrap();
    }

    fn empty(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.directory.path().join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.directory.path()).status();
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let status = Command::new(program).args(arguments).arg(path).status().unwrap();
    assert!(status.success(), "{program} {arguments:?} {}", path.display());
}

/// A run of one large event.
fn large(head: u64) -> Run {
    let text = "x".repeat(60_000);
    Run { events: vec![text_event(4, head + 1, &text)], ..run_of(4, head, 0) }
}

#[test]
fn a_full_disk_loses_nothing_acknowledged_and_reading_goes_on() {
    let Some(disk) = Disk::mount() else { return };
    let store = OnDisk::at(disk.directory.path());
    let rig = Rig::start(&store);
    rig.store(large(0));
    disk.fill(2 * MIB);
    let mut head = 1;
    let why = loop {
        match rig.append(vec![large(head)]).pop() {
            Some(Told::Durable(_)) => head += 1,
            Some(Told::Undone(_, why)) => break why,
            None => panic!("no outcome"),
        }
        assert!(head < 1_000, "the disk does not fill");
    };
    assert!(matches!(why, Undone::Unknown(_)), "{why}");
    assert!(rig.log.writable().is_err());
    match rig.refuse(large(head)) {
        Undone::Refused(why) => assert!(matches!(*why, StoreError::Stopped { .. }), "{why}"),
        why => panic!("{why}"),
    }
    assert_eq!(seqs(&*rig.log, 4), (1..=head).collect::<Vec<_>>(), "reading goes on");
    disk.enlarge();
    let rig = rig.restart();
    let found = seqs(&*rig.log, 4).len() as u64;
    assert!(found == head || found == head + 1, "{found} of {head} acknowledged");
    rig.store(large(found));
}

/// Waits until the store says that it is writable, or is not.
fn wait_until(log: &Arc<dyn ChannelLog>, writable: bool) {
    let began = Instant::now();
    while log.writable().is_ok() != writable {
        assert!(began.elapsed() < Duration::from_secs(60), "{:?}", log.writable());
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn below_the_reserve_appends_are_refused_until_there_is_space_again() {
    let Some(disk) = Disk::mount() else { return };
    let mut store = OnDisk::at(disk.directory.path());
    store.options.space_reserve_bytes = 8 * MIB;
    let rig = Rig::start(&store);
    rig.store(large(0));
    disk.fill(4 * MIB);
    wait_until(&rig.log, false);
    match rig.refuse(large(1)) {
        Undone::Refused(why) => assert!(matches!(*why, StoreError::Busy { .. }), "{why}"),
        why => panic!("{why}"),
    }
    assert_eq!(seqs(&*rig.log, 4), [1]);
    disk.empty();
    wait_until(&rig.log, true);
    rig.store(large(1));
    assert_eq!(rig.log.heads(&[ChannelNo::new(4)]).unwrap()[0].seq.get(), 2);
}
