//! Mistakes, and what people read of them.

use super::{loadtest, text};

#[test]
fn a_target_that_is_not_there_ends_with_6() {
    // A port that was free a moment ago: nothing listens there.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key.der");
    let random = ring::rand::SystemRandom::new();
    let pkcs8 = ring::signature::Ed25519KeyPair::generate_pkcs8(&random).unwrap();
    std::fs::write(&key, pkcs8).unwrap();
    let url = format!("damso://{free}?pin=sha256-AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8");
    let output = loadtest(&["run", "groups", "--url", &url, "--token-key", key.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(6), "{}", text(&output));
}

#[test]
fn wrong_options_end_with_1_and_say_what_is_right() {
    let cases: [(&[&str], &str); 18] = [
        (&["run"], "<SCENARIO>"),
        (&["run", "grups"], "did you mean `groups`"),
        (&["run", "groups", "--url", "damso://127.0.0.1:1"], "--token-key"),
        (&["run", "groups", "--bare", "--rate", "0"], "rate must be above 0"),
        (
            &["run", "groups", "--bare", "--members", "9", "--connections", "5"],
            "people.connections",
        ),
        (&["run", "groups", "--bare", "--slo", "ack.p98<1ms"], "p99"),
        (&["run", "groups", "--bare", "--slo", "tok.ack.p99<1ms"], "there are: talk"),
        (&["run", "groups", "--bare", "--slo", "page.p99<1ms"], "no stream"),
        (&["run", "idle", "--bare", "--rate", "5"], "[[traffic]]"),
        (&["run", "groups", "--conections", "5"], "--connections"),
        (&["run", "groups", "--bare", "--set", "people.conections=5"], "`connections`"),
        (&["run", "groups", "--bare", "--bare-fault", "loose@3"], "lose@N"),
        (
            &["run", "groups", "--bare", "--connections", "30000", "--per-worker", "30000"],
            "--per-worker",
        ),
        (&["run", "broadcast", "--bare", "--per-worker", "500"], "raise --per-worker"),
        (&["run", "groups", "--bare", "--members", "600", "--per-worker", "500"], "--per-worker"),
        (&["bare", "--fault", "stall=1@4"], "stall=1s@4s"),
        (&["fill"], "--data"),
        (&["saturate", "groups", "--bare", "--step", "1"], "--step"),
    ];
    for (arguments, hint) in cases {
        let output = loadtest(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output));
        assert!(text(&output).contains(hint), "{arguments:?}: {}", text(&output));
    }
}

#[test]
fn scenarios_are_listed_and_printed() {
    let all = text(&loadtest(&["scenarios"]));
    for name in ["idle", "broadcast", "groups", "direct", "many-channels", "mixed"] {
        assert!(all.contains(name), "{all}");
    }
    let one = loadtest(&["scenarios", "groups"]);
    assert!(text(&one).contains("[[traffic]]"), "{}", text(&one));
    assert_eq!(loadtest(&["scenarios", "grups"]).status.code(), Some(1));
}
