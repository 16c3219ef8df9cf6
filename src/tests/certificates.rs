//! Another certificate, without a restart: new connections see it, living ones do not notice, and
//! files that cannot be used change nothing.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use damso_proto::address::ConnectionString;
use rcgen::{CertifiedKey, KeyPair};
use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use super::process::{Process, binary};
use super::raw::{Raw, trusting};
use super::server::Local;

const RELOADS: &str = "damso_certificate_reloads_total";
/// How often the certificate is replaced while people connect, and how fast.
const ROTATIONS: usize = 20;
const ROTATION: Duration = Duration::from_millis(100);
/// What has not come after so long never will.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two questions whether it has: a look at the files comes every 10 s alone.
const PAUSE: Duration = Duration::from_millis(5);

/// A chain and its key as files.
struct Pair(TempDir);

impl Pair {
    fn of(made: &CertifiedKey<KeyPair>) -> Self {
        let pair = Self(TempDir::new().expect("a temporary directory"));
        pair.write(made);
        pair
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// One after the other, as everybody does: not aside and renamed, so that half of it can be
    /// seen.
    fn write(&self, made: &CertifiedKey<KeyPair>) {
        self.put("chain", &made.cert.pem());
        self.put("key", &made.signing_key.serialize_pem());
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    fn arguments(&self) -> [String; 6] {
        let path = |name: &str| self.path(name).to_str().expect("a path of text").to_owned();
        let [chain, key] = [path("chain"), path("key")];
        ["--shards".into(), "2".into(), "--cert".into(), chain, "--key".into(), key]
    }

    fn start(&self) -> Process {
        Process::start(&self.arguments().each_ref().map(String::as_str))
    }
}

fn made() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate")
}

/// The certificate that a new connection sees.
fn seen(string: &str) -> CertificateDer<'static> {
    Raw::greet(string, "seer").0.leaf()
}

fn outcomes(server: &Process, outcome: &str) -> f64 {
    server.counted(RELOADS, &format!("\"{outcome}\""))
}

/// Until this has been counted so often.
fn wait_for(server: &Process, outcome: &str, times: f64) {
    let begun = Instant::now();
    while outcomes(server, outcome) < times {
        assert!(begun.elapsed() < PATIENCE, "{outcome} was not counted {times} times");
        thread::sleep(PAUSE);
    }
}

#[test]
fn a_hang_up_shows_the_new_one_to_new_connections_and_living_ones_go_on() {
    let (one, two) = (made(), made());
    let pair = Pair::of(&one);
    let server = pair.start();
    let string = server.string("alice");
    let (mut living, _) = Raw::greet(&string, "living");
    assert_eq!(living.leaf(), *one.cert.der());
    let ends = server.metric("damso_certificate_not_after_seconds");
    assert!(ends > 4e10, "rcgen's own certificates end in 4096: {ends}");

    let mut soon = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    soon.not_after = rcgen::date_time_ymd(2026, 1, 1);
    let over = CertifiedKey {
        cert: soon.self_signed(&two.signing_key).expect("a certificate"),
        signing_key: two.signing_key,
    };
    pair.write(&over);
    server.hang_up();
    wait_for(&server, "loaded", 1.0);
    assert_eq!(seen(&string), *over.cert.der(), "one that has ended is served, too");
    assert_eq!(server.metric("damso_certificate_not_after_seconds"), 1_767_225_600.0);
    living.fence().expect("whoever was here stays");
    assert_eq!(outcomes(&server, "loaded"), 1.0);

    server.terminate();
    drop((living.rest(), living));
    let (status, _, directory) = server.wait();
    assert!(status.success(), "a hang-up is no end: {status}");
    let log = fs::read_to_string(directory.path().join("log")).expect("a log");
    for words in ["a new certificate is served", "it has another key", "the certificate has ended"]
    {
        assert_eq!(log.matches(words).count(), 1, "{words}: {log}");
    }
}

#[test]
fn files_that_changed_are_noticed_without_a_signal() {
    let (one, two) = (made(), made());
    let pair = Pair::of(&one);
    let server = pair.start();
    let string = server.string("alice");
    assert_eq!(seen(&string), *one.cert.der());
    pair.write(&two);
    // A look at half a pair costs one more look, no more.
    wait_for(&server, "loaded", 1.0);
    assert_eq!(seen(&string), *two.cert.der());
    assert_eq!(outcomes(&server, "failed"), 0.0);
}

#[test]
fn what_cannot_be_used_is_counted_and_the_old_one_is_shown() {
    let (one, two) = (made(), made());
    let pair = Pair::of(&one);
    let server = pair.start();
    let string = server.string("alice");
    let (chain, key) = (two.cert.pem(), two.signing_key.serialize_pem());
    let mut failed = 0.0;
    for (name, text) in [
        ("key", Some("-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n")),
        ("key", Some(&*key)),
        ("chain", Some(&chain[..chain.len() / 2])),
        ("chain", None),
        ("key", None),
    ] {
        pair.write(&one);
        match text {
            Some(text) => pair.put(name, text),
            None => fs::remove_file(pair.path(name)).expect("it was there"),
        }
        server.hang_up();
        failed += 1.0;
        wait_for(&server, "failed", failed);
        assert_eq!(seen(&string), *one.cert.der(), "{name}: {text:?}");
    }
    pair.write(&two);
    server.hang_up();
    wait_for(&server, "loaded", 1.0);
    assert_eq!(seen(&string), *two.cert.der());
    assert_eq!(outcomes(&server, "failed"), failed);
    server.terminate();
    let (_, _, directory) = server.wait();
    let log = fs::read_to_string(directory.path().join("log")).expect("a log");
    assert_eq!(log.matches("the old certificate is served on").count(), 5, "{log}");
    assert!(log.contains("advice"), "{log}");
}

#[test]
fn no_handshake_fails_while_it_is_replaced_again_and_again() {
    let all = [made(), made(), made()];
    let pair = Pair::of(&all[0]);
    let server = pair.start();
    let strings = ["alice", "bob"].map(|uid| server.string(uid));
    let over = AtomicBool::new(false);
    let met: Vec<CertificateDer<'static>> = thread::scope(|scope| {
        let connect = |string| {
            let mut leaves = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let leaf = seen(string);
                if leaves.last() != Some(&leaf) {
                    leaves.push(leaf);
                }
            }
            leaves
        };
        let threads = strings.each_ref().map(|string| scope.spawn(move || connect(string)));
        for (number, next) in all.iter().cycle().skip(1).take(ROTATIONS).enumerate() {
            let begun = Instant::now();
            pair.write(next);
            server.hang_up();
            wait_for(&server, "loaded", (number + 1) as f64);
            assert_eq!(seen(&strings[0]), *next.cert.der());
            thread::sleep(ROTATION.saturating_sub(begun.elapsed()));
        }
        over.store(true, Ordering::Relaxed);
        threads.into_iter().flat_map(|thread| thread.join().expect("each handshake")).collect()
    });
    for leaf in &met {
        assert!(all.iter().any(|made| made.cert.der() == leaf), "one that nobody made");
    }
    println!("{} changes were seen in {ROTATIONS} rotations", met.len());
    assert!(met.len() > strings.len(), "nobody connected while it was replaced");
}

#[test]
fn a_ticket_from_before_is_good_afterwards() {
    let (one, two) = (made(), made());
    let pair = Pair::of(&one);
    let server = pair.start();
    let string = server.string("alice");
    // Clones share the tickets that they were given.
    let config = trusting(&[b"damso/1"]);
    let (first, _) = Raw::greet_as(&string, "a", config.clone());
    assert_eq!(first.handshake(), Some(HandshakeKind::Full));
    pair.write(&two);
    server.hang_up();
    wait_for(&server, "loaded", 1.0);
    let (mut second, _) = Raw::greet_as(&string, "a", config);
    assert_eq!(second.handshake(), Some(HandshakeKind::Resumed));
    second.fence().expect("it is as good as any");
    assert_eq!(seen(&string), *two.cert.der(), "whoever has no ticket sees the new one");
}

#[test]
fn connection_strings_have_the_pin_of_the_new_one() {
    let (one, two) = (made(), made());
    let pair = Pair::of(&one);
    let arguments = pair.arguments();
    let server = Local::start(&arguments.each_ref().map(String::as_str));
    let pin = |string: String| {
        let string: ConnectionString = string.parse().expect("a connection string");
        string.pin.expect("a pin")
    };
    let old = pin(server.string("alice"));
    pair.write(&two);
    server.reload();
    let begun = Instant::now();
    while pin(server.string("alice")) == old {
        assert!(begun.elapsed() < PATIENCE, "the old pin stands on");
        thread::yield_now();
    }
    let printed = binary(&server.data())
        .args(["token", "--user", "alice"])
        .args(&arguments[2..])
        .output()
        .expect("the binary runs");
    let printed = String::from_utf8(printed.stdout).expect("text").trim().to_owned();
    assert_eq!(pin(printed), pin(server.string("alice")), "`damso token` prints the same");
}

#[test]
fn the_servers_own_certificate_stays_whatever_hangs_up() {
    let server = Process::start(&["--shards", "1"]);
    let string = server.string("alice");
    let before = seen(&string);
    assert!(server.metric("damso_certificate_not_after_seconds") > 1e9);
    server.hang_up();
    let log = server.data().with_file_name("log");
    server.wait_until("a word about it", |_| {
        fs::read_to_string(&log).expect("a log").contains("nothing to reload")
    });
    assert_eq!(seen(&string), before);
    assert_eq!(server.metric(RELOADS), 0.0);
}
