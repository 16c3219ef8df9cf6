//! Nothing is lost, doubled or reordered when the server's process is killed.
//!
//! `DAMSO_CRASH_CYCLES` says how often it is; `DAMSO_TESTS=full` makes that 200 by default.

use std::io::Write as _;
use std::time::{Duration, Instant};

use damso_loadtest::checker::Law;
use tempfile::TempDir;

use super::crash_backend::Shop;
use super::crash_fleet::{Fleet, Lost, Successor};
use super::crash_history::{judge, read_back};
use super::crash_members::Doorkeeper;
use super::crash_process::Installation;
use super::raw::fresh_key;

/// When the server is killed after traffic flows.
const KILL_MS: std::ops::RangeInclusive<u64> = 5..=150;
/// Kills after which the server without memory must have stored something twice.
const FORGETFUL_KILLS_MAX: usize = 30;

/// Cycles by environment, or by how thorough the tests are to be.
pub(crate) fn cycles(variable: &str, quick: usize, full: usize) -> usize {
    let thorough = std::env::var("DAMSO_TESTS").is_ok_and(|tests| tests == "full");
    let default = if thorough { full } else { quick };
    std::env::var(variable).map_or(default, |cycles| cycles.parse().expect("a number of cycles"))
}

/// A line that is seen even of a test that passes.
pub(crate) fn say(line: &str) {
    // Where nobody listens, nothing is missed.
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Waits for a random moment at which the server is to die.
pub(crate) fn any_moment() {
    let span = KILL_MS.end() - KILL_MS.start() + 1;
    let random =
        fresh_key().as_bytes()[8..].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    std::thread::sleep(Duration::from_millis(KILL_MS.start() + random % span));
}

/// Replaces two people's clients while the server is dead. Returns the device that is lost.
pub(crate) fn replace_some(fleet: &Fleet, cycle: usize) -> Lost {
    fleet.replace(3 * cycle, Successor::Restarted);
    let lost = fleet.device(7 * cycle + 1);
    fleet.replace(7 * cycle + 1, Successor::NewDevice);
    lost
}

#[test]
fn nothing_is_lost_doubled_or_reordered_by_kill_9() {
    let started = Instant::now();
    let cycles = cycles("DAMSO_CRASH_CYCLES", 5, 200);
    let directory = TempDir::new().expect("a temporary directory");
    let installation =
        Installation::new(directory.path().join("data"), directory.path().join("log"));
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
        server.kill();
        fleet.after_kill();
        let lost = replace_some(&fleet, cycle);
        server = installation.start();
        fleet.serving();
        lost.revoke(&backend);
    }
    fleet.settle();
    let ledger = shop.settle();
    // What only memory holds would be read back as if it were history.
    fleet.before_kill();
    server.kill();
    fleet.after_kill();
    let _server = installation.start();
    fleet.serving();
    let heads = read_back(&fleet);
    fleet.reach(&heads);
    let changes = door.finish();
    let asked = ledger.judge(&installation);
    let result = judge(fleet);
    let seconds = started.elapsed().as_secs_f64();
    let figures = result.figures();
    let figures = format!("{figures}, {changes} of members; {asked}");
    say(&format!("kill -9: {cycles} cycles, {figures}; {seconds:.1} s"));
    result.must_be_clean();
    assert!(result.verdict.counts.repeats > 0, "no kill met a send on its way: {}", result.verdict);
}

#[test]
fn a_server_that_forgets_keys_is_seen_to_store_twice() {
    let directory = TempDir::new().expect("a temporary directory");
    let installation =
        Installation::new(directory.path().join("data"), directory.path().join("log"))
            .with("DAMSO_UNSAFE_NO_DEDUPE", "1");
    let mut server = installation.start();
    let fleet = Fleet::start(&installation);
    fleet.chat();
    let mut kills = 0;
    while kills < FORGETFUL_KILLS_MAX && fleet.world.lock().twice == 0 {
        kills += 1;
        fleet.flow();
        any_moment();
        fleet.before_kill();
        server.kill();
        fleet.after_kill();
        server = installation.start();
        fleet.serving();
        fleet.flow();
    }
    fleet.settle();
    read_back(&fleet);
    let result = judge(fleet);
    let twice = result.verdict.count(Law::StoredTwice);
    say(&format!("kill -9 without dedupe: {kills} cycles, {twice} stored twice"));
    assert!(twice > 0, "the checker saw no duplicate: {}", result.verdict);
}
