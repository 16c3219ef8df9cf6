//! Nothing is lost when the power goes: the disk is copied while the server stands still.
//!
//! ```text
//! server -> ext4 -> loop device -> image file ---copy---> image file -> ext4 -> server
//!             \ what was not synced is here, and is lost
//! ```
//!
//! `DAMSO_POWER_CYCLES` says how often; `DAMSO_TESTS=full` makes that 40 by default.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use damso_loadtest::checker::Law;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use super::crash::{any_moment, cycles, replace_some, say};
use super::crash_backend::Shop;
use super::crash_fleet::Fleet;
use super::crash_history::{judge, read_back};
use super::crash_members::Doorkeeper;
use super::crash_process::{Installation, Process};

/// Sparse; the store keeps 256 MiB of it free.
const IMAGE_BYTES: u64 = 1 << 30;
/// The kernel writes back at its own times: a copy during which it did so is thrown away.
const COPIES_MAX: usize = 50;
/// A busy mount is let go within this many attempts.
const UNMOUNTS_MAX: usize = 50;
const STEP: Duration = Duration::from_millis(20);
/// Longer than any thread of the server stays inside the kernel.
const STOP_MAX: Duration = Duration::from_secs(30);
/// Cuts after which a server that does not sync must have lost something.
const CARELESS_CUTS_MAX: usize = 3;

/// A disk whose power can be cut.
struct Disk {
    image: PathBuf,
    mount: PathBuf,
    copies: usize,
    /// After the mount is gone; see `drop`.
    directory: TempDir,
}

impl Disk {
    /// `Err`: why there can be none here.
    fn new() -> Result<Self, String> {
        let directory = TempDir::new().expect("a temporary directory");
        let (image, mount) = (directory.path().join("image-0"), directory.path().join("disk"));
        fs::create_dir(&mount).expect("a mount point");
        let file = fs::File::create(&image).expect("an image");
        file.set_len(IMAGE_BYTES).expect("a sparse file");
        let lazy = "lazy_itable_init=1,lazy_journal_init=1";
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-E", lazy, "-J", "size=8"]).arg(&image))?;
        let disk = Self { image, mount, copies: 0, directory };
        disk.mount()?;
        Ok(disk)
    }

    fn installation(&self) -> Installation {
        Installation::new(self.mount.join("data"), self.directory.path().join("log"))
    }

    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount))
    }

    fn unmount(&self) -> Result<(), String> {
        let mut result = Ok(());
        for _ in 0..UNMOUNTS_MAX {
            result = run(Command::new("umount").arg(&self.mount));
            if result.is_ok() {
                break;
            }
            std::thread::sleep(STEP);
        }
        result
    }

    /// Everything that was written so far is safe.
    fn sync(&self) {
        run(Command::new("sync").arg("--file-system").arg(&self.mount)).expect("sync");
    }

    /// Cuts the power of `server`: afterwards the disk has what it had synced, and it is dead.
    fn cut(&mut self, server: Process) {
        stand_still(&server);
        let copy = self.copy();
        server.kill();
        self.unmount().expect("the dead server holds no file");
        fs::remove_file(&self.image).expect("the old image");
        self.image = copy;
        self.mount().expect("a file system survives a power cut");
    }

    /// A copy of the image as it stood at one moment.
    fn copy(&mut self) -> PathBuf {
        self.copies += 1;
        let copy = self.directory.path().join(format!("image-{}", self.copies));
        let device = device_of(&self.mount);
        for _ in 0..COPIES_MAX {
            let before = writes(&device);
            run(Command::new("cp").arg("--sparse=always").args([&self.image, &copy])).expect("cp");
            if writes(&device) == before {
                return copy;
            }
        }
        panic!("{device} is written to without end");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.unmount().is_err() {
            // Whoever still holds a file of it lets the device go later.
            drop(run(Command::new("umount").arg("--lazy").arg(&self.mount)));
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}", said.trim())) }
}

/// The loop device under a mount, as `loop7`.
fn device_of(mount: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("the list of mounts");
    let mount = mount.to_str().expect("our names are UTF-8");
    let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(mount));
    let device = line.and_then(|line| line.split(' ').next()).expect("a mounted disk");
    device.trim_start_matches("/dev/").to_owned()
}

/// Writes that a device has done, and what is in flight there.
fn writes(device: &str) -> (u64, u64) {
    let text = fs::read_to_string(format!("/sys/block/{device}/stat")).expect("its counters");
    let field = |at| text.split_whitespace().nth(at).and_then(|field| field.parse().ok());
    (field(4).expect("writes done"), field(8).expect("requests in flight"))
}

/// Stops every thread of the server, and waits until none is inside the kernel.
fn stand_still(server: &Process) {
    let pid = i32::try_from(server.id()).ok().and_then(Pid::from_raw).expect("a process number");
    rustix::process::kill_process(pid, Signal::STOP).expect("a server to stop");
    let tasks = format!("/proc/{}/task", server.id());
    let until = Instant::now() + STOP_MAX;
    while !all_stopped(&tasks) {
        assert!(Instant::now() < until, "the server does not stand still");
        std::thread::yield_now();
    }
}

fn all_stopped(tasks: &str) -> bool {
    fs::read_dir(tasks).expect("the server's threads").all(|task| {
        let stat = task.and_then(|task| fs::read_to_string(task.path().join("stat")));
        // A thread that has just ended does nothing either.
        stat.map_or(true, |stat| {
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        })
    })
}

/// A disk, or `None` with the reason said.
fn disk() -> Option<Disk> {
    let strict = std::env::var("CI").is_ok_and(|ci| ci == "true");
    if !rustix::process::geteuid().is_root() {
        assert!(!strict, "power cuts need root, and CI=true skips nothing");
        say("power cuts skipped: needs root");
        return None;
    }
    match Disk::new() {
        Ok(disk) => Some(disk),
        Err(why) => {
            // Only then are there no loop devices at all, for which nobody here can be blamed.
            let possible = run(Command::new("losetup").arg("--find")).is_ok();
            assert!(!(strict && possible), "no disk to cut: {why}");
            say(&format!("power cuts skipped: no loop device ({why})"));
            None
        }
    }
}

#[test]
fn nothing_is_lost_doubled_or_reordered_by_power_cuts() {
    let started = Instant::now();
    let cycles = cycles("DAMSO_POWER_CYCLES", 1, 40);
    let Some(mut disk) = disk() else { return };
    let installation = disk.installation();
    let mut server = installation.start();
    let backend = installation.backend();
    let fleet = Fleet::start(&installation);
    let door = Doorkeeper::start(&installation);
    let shop = Shop::start(&installation, &fleet);
    fleet.chat();
    for cycle in 0..cycles {
        fleet.flow();
        shop.flow();
        any_moment();
        fleet.before_kill();
        disk.cut(server);
        fleet.after_kill();
        let lost = replace_some(&fleet, cycle);
        server = installation.start();
        fleet.serving();
        lost.revoke(&backend);
    }
    fleet.settle();
    let ledger = shop.settle();
    fleet.before_kill();
    disk.cut(server);
    fleet.after_kill();
    let server = installation.start();
    fleet.serving();
    let heads = read_back(&fleet);
    fleet.reach(&heads);
    let changes = door.finish();
    let asked = ledger.judge(&installation);
    let result = judge(fleet);
    server.kill();
    let seconds = started.elapsed().as_secs_f64();
    let figures = result.figures();
    let figures = format!("{figures}, {changes} of members; {asked}");
    say(&format!("power cuts: {cycles} cycles, {figures}; {seconds:.1} s"));
    result.must_be_clean();
}

#[test]
fn a_server_that_does_not_sync_is_seen_to_lose_messages() {
    for cut in 1..=CARELESS_CUTS_MAX {
        let Some(mut disk) = disk() else { return };
        let installation = disk.installation().with("DAMSO_UNSAFE_SKIP_FSYNC", "1");
        let server = installation.start();
        let mut fleet = Fleet::start(&installation);
        // The rooms are to survive, so that what is written into them can be missed.
        disk.sync();
        fleet.chat();
        fleet.flow();
        any_moment();
        fleet.before_kill();
        disk.cut(server);
        fleet.after_kill();
        // Nobody may fill the places of what was lost before history is read.
        fleet.leave();
        let server = installation.start();
        read_back(&fleet);
        let result = judge(fleet);
        server.kill();
        let lost = result.verdict.count(Law::Lost);
        say(&format!("power cut {cut} without fsync: {lost} acknowledged messages lost"));
        if lost > 0 {
            return;
        }
    }
    panic!("{CARELESS_CUTS_MAX} cuts without fsync, and the checker saw no loss");
}
