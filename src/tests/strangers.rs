//! Whoever is not logged in: garbage, foreign protocols, bad tokens, and those who say nothing.
//!
//! They cost a place for a while, and nothing that stays.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use damso_proto::address::ConnectionString;
use damso_proto::code::CloseCode;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;
use ring::signature::Ed25519KeyPair;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::process::Process;
use super::raw::{Raw, encode, frame, hello, plain, trusting};
use super::server::Local;

/// What is repeated leaves at most so much behind: allocators keep some of what they got.
const GROWTH_BYTES_MAX: usize = 4 << 20;

const NOTHING: [u8; 0] = [];

fn parsed(string: &str) -> ConnectionString {
    string.parse().expect("a connection string")
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

/// Reads to the end; resets count as one.
fn drain(mut stream: TcpStream) -> Vec<u8> {
    let mut heard = Vec::new();
    match stream.read_to_end(&mut heard) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
            panic!("the connection stays open after {heard:?}")
        }
        Ok(_) | Err(_) => heard,
    }
}

/// How a Hello ends; `None`: with Welcome.
fn closed_after(string: &str, hello: wire::Hello) -> Option<CloseCode> {
    let mut raw = Raw::connect(&parsed(string)).expect("a connection");
    raw.write(&encode(&frame(Ask::Hello(hello)))).expect("Hello");
    match raw.next().expect("an answer to Hello") {
        Said::Welcome(_) => None,
        Said::Closing(closing) => CloseCode::from_number(closing.code),
        other => panic!("expected Welcome or Closing, heard {other:?}"),
    }
}

/// Signs what the server's own issuer never would.
struct Forge(Ed25519KeyPair);

impl Forge {
    /// With the key of the server itself.
    fn of(server: &Local) -> Self {
        let pem = std::fs::read(server.data().join("token-key.pem")).expect("the issuer's key");
        let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).expect("a private key");
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
        Self(pair.expect("an Ed25519 key"))
    }

    /// With a key of one's own.
    fn foreign() -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("any 32 bytes"))
    }

    fn token(&self, header: &Value, claims: &Value) -> String {
        let encoded = |value: &Value| BASE64.encode(value.to_string());
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let signature = BASE64.encode(self.0.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}

fn eddsa() -> Value {
    json!({ "alg": "EdDSA", "typ": "JWT" })
}

fn claims() -> Value {
    json!({ "sub": "alice", "aud": "damso", "exp": now() + 600 })
}

fn with(field: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[field] = value;
    claims
}

/// `token` with one character of this part changed.
fn flipped(token: &str, part: usize) -> String {
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let middle = parts[part].len() / 2;
    let other = if &parts[part][middle..=middle] == "A" { "B" } else { "A" };
    parts[part].replace_range(middle..=middle, other);
    parts.join(".")
}

#[test]
fn only_a_token_of_the_servers_own_key_about_this_server_and_this_time_is_good() {
    let server = Local::start(&["--shards", "1"]);
    let (own, foreign) = (Forge::of(&server), Forge::foreign());
    let good = own.token(&eddsa(), &claims());
    let bob = own.token(&eddsa(), &with("sub", json!("bob")));
    let swapped = {
        let (parts, other): (Vec<_>, Vec<_>) =
            (good.split('.').collect(), bob.split('.').collect());
        [parts[0], other[1], parts[2]].join(".")
    };
    let unsigned = |header: &Value| {
        let token = own.token(header, &claims());
        token.rsplit_once('.').map(|(signed, _)| format!("{signed}.")).unwrap_or_default()
    };
    let invalid = Some(CloseCode::TokenInvalid);
    let long = with("more", json!("x".repeat(2_000)));
    let cases = [
        ("good", good.clone(), None),
        (
            "expired",
            own.token(&eddsa(), &with("exp", json!(now() - 120))),
            Some(CloseCode::TokenExpired),
        ),
        (
            "expired long ago",
            own.token(&eddsa(), &with("exp", json!(0))),
            Some(CloseCode::TokenExpired),
        ),
        ("not yet valid", own.token(&eddsa(), &with("nbf", json!(now() + 600))), invalid),
        ("changed header", flipped(&good, 0), invalid),
        ("changed claims", flipped(&good, 1), invalid),
        ("changed signature", flipped(&good, 2), invalid),
        ("another's claims", swapped, invalid),
        ("a foreign key", foreign.token(&eddsa(), &claims()), invalid),
        ("a foreign key, expired", foreign.token(&eddsa(), &with("exp", json!(0))), invalid),
        ("no signature", unsigned(&eddsa()), invalid),
        ("alg none", unsigned(&json!({ "alg": "none" })), invalid),
        ("alg none, signed", own.token(&json!({ "alg": "none" }), &claims()), invalid),
        ("alg HS256", own.token(&json!({ "alg": "HS256" }), &claims()), invalid),
        ("another audience", own.token(&eddsa(), &with("aud", json!("other"))), invalid),
        ("no audience", own.token(&eddsa(), &with("aud", json!([]))), invalid),
        ("nobody", own.token(&eddsa(), &with("sub", json!(""))), invalid),
        ("a uid too long", own.token(&eddsa(), &with("sub", json!("x".repeat(65)))), invalid),
        ("too long", own.token(&eddsa(), &long), invalid),
        ("empty", String::new(), invalid),
        ("dots", "...".to_owned(), invalid),
        ("nonsense", "\u{0}\u{ffff}".repeat(300), invalid),
    ];
    let string = server.string("alice");
    for (what, token, expected) in cases {
        let hello = wire::Hello { token, ..hello(&parsed(&string), "d") };
        assert_eq!(closed_after(&string, hello), expected, "{what}");
    }
}

#[test]
fn a_hello_of_another_version_or_without_a_device_is_refused() {
    let server = Local::start(&["--shards", "1"]);
    let string = server.string("alice");
    let good = hello(&parsed(&string), "d");
    let version = Some(CloseCode::Version);
    let malformed = Some(CloseCode::Malformed);
    let spoken =
        |min_version, max_version| wire::Hello { min_version, max_version, ..good.clone() };
    let device = |device: String| wire::Hello { device, ..good.clone() };
    let cases = [
        ("younger than the server", spoken(2, 9), version),
        ("none at all", spoken(0, 0), version),
        ("a range that is empty", spoken(2, 1), version),
        ("a range that holds version 1", spoken(0, u32::MAX), None),
        ("no device", device(String::new()), malformed),
        ("a device name too long", device("d".repeat(65)), malformed),
        ("the longest device name", device("d".repeat(64)), None),
    ];
    for (what, hello, expected) in cases {
        assert_eq!(closed_after(&string, hello), expected, "{what}");
    }
}

#[test]
fn whoever_does_not_speak_this_protocol_over_tls_1_3_hears_no_frame_of_it() {
    let server = Local::start(&["--shards", "2"]);
    let string = parsed(&server.string("alice"));
    let cases: [(&str, &[u8]); 6] = [
        ("HTTP", b"GET / HTTP/1.1\r\nHost: damso\r\n\r\n"),
        ("zeroes", &[0; 4_096]),
        ("noise", &[0xa7; 4_096]),
        ("a record longer than records are", &[0x16, 3, 1, 0xff, 0xff, 1, 0, 0, 0]),
        ("data before the handshake", &[0x17, 3, 3, 0, 2, 1, 1]),
        ("a damso frame without TLS", &[4, 0x2a, 2, 8, 1]),
    ];
    for (what, bytes) in cases {
        let mut stream = plain(&string).expect("a connection");
        stream.write_all(bytes).expect("bytes go out");
        stream.shutdown(Shutdown::Write).expect("and no more");
        let heard = drain(stream);
        // An alert, or nothing.
        assert!(heard.is_empty() || heard[0] == 0x15, "{what}: {heard:?}");
    }
    let http = trusting(&[b"h2", b"http/1.1"]);
    let none = trusting(&[]);
    let mut old = rustls::ClientConfig::clone(&trusting(&[b"damso/1"]));
    old.enable_sni = false;
    for (what, config, speaks) in [("h2", http, false), ("none", none, false), ("ours", old, true)]
    {
        let mut raw = Raw::connect_as(&string, config).expect("a connection");
        let said = raw.write(&encode(&frame(Ask::Hello(hello(&string, "d")))));
        let heard = if said.is_ok() { raw.next().ok() } else { None };
        assert_eq!(matches!(heard, Some(Said::Welcome(_))), speaks, "ALPN {what}: {heard:?}");
    }
    Raw::log_in(&server.string("alice"), "a", Default::default());
}

#[test]
fn a_login_that_never_comes_is_closed() {
    let server = Local::start(&["--shards", "1"]);
    let string = server.string("alice");
    let silent = plain(&parsed(&string)).expect("a connection");
    let mut half = plain(&parsed(&string)).expect("a connection");
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).expect("a part of a handshake");
    // The handshake is made with the first bytes said: a part of a frame.
    let mut hello_late = Raw::connect(&parsed(&string)).expect("a connection");
    hello_late.write(&[0xff]).expect("half a length");
    let (mut resume_late, _) = Raw::greet(&string, "r");
    resume_late.write(&encode(&frame(Ask::Ping(wire::Ping { id: 1 })))).expect("Ping");
    assert_eq!(hello_late.closing(), Some(CloseCode::LoginLate));
    assert_eq!(resume_late.closing(), Some(CloseCode::LoginLate), "Ping is no Resume");
    assert_eq!(drain(silent), NOTHING, "nothing is said to whoever says nothing");
    assert_eq!(drain(half), NOTHING);
}

#[test]
fn whoever_only_holds_a_place_loses_it_to_whoever_comes() {
    // A tenth of the connections may be strangers': two.
    let server = Local::start(&["--shards", "1", "--connections", "20"]);
    let string = server.string("alice");
    let mut silent: Vec<_> =
        (0..8).map(|_| plain(&parsed(&string)).expect("a connection")).collect();
    let (mut alice, _) = Raw::log_in(&string, "a", Default::default());
    let last = silent.pop();
    for stream in silent {
        assert_eq!(drain(stream), NOTHING, "those before the last ones were dropped");
    }
    alice.fence().expect("who is logged in is no stranger");
    drop(last);
}

#[test]
fn strangers_leave_nothing_behind() {
    let server = Process::start(&["--shards", "2"]);
    // A shard's thread opens sockets of its own when it starts; it counts only after that.
    server.wait_until("the start of both shards", |server| {
        let (_, page) = server.page("/metrics");
        ["0", "1"]
            .iter()
            .all(|shard| page.contains(&format!("damso_shard_turns_total{{shard=\"{shard}\"}}")))
    });
    let string = server.string("alice");
    let target = parsed(&string);
    let sockets = server.sockets();
    let wrong = wire::Hello { token: "a.b.c".to_owned(), ..hello(&target, "d") };
    let garbage = |_: usize| {
        let mut stream = plain(&target).expect("a connection");
        stream.write_all(&[0xa7; 512]).expect("bytes go out");
        drain(stream);
    };
    let leave = |_: usize| drop(plain(&target).expect("a connection"));
    let lie = |_: usize| {
        let mut raw = Raw::connect(&target).expect("a connection");
        raw.write(&[0xff; 5]).expect("bytes go out");
        assert_eq!(raw.closing(), Some(CloseCode::FrameTooLarge));
    };
    let forge = |_: usize| {
        assert_eq!(closed_after(&string, wrong.clone()), Some(CloseCode::TokenInvalid));
    };
    let misbehave = |_: usize| {
        let (mut raw, _) = Raw::log_in(&string, "d", Default::default());
        raw.write(&[0xff; 5]).expect("bytes go out");
        assert_eq!(raw.closing(), Some(CloseCode::FrameTooLarge));
    };
    let round = |times: usize| {
        (0..4 * times).for_each(garbage);
        (0..4 * times).for_each(leave);
        (0..times).for_each(lie);
        (0..times).for_each(forge);
        (0..times).for_each(misbehave);
        server.wait_until("the end of all sessions", |server| {
            server.metric("damso_sessions") == 0.0 && server.metric("damso_connections") == 0.0
        });
        server.wait_until("the end of all sockets", |server| server.sockets() <= sockets);
        server.resident()
    };
    let resident = round(100);
    let resident_after = round(400);
    println!("4,400 strangers: {resident} -> {resident_after} bytes, {sockets} sockets");
    assert!(resident_after < resident + GROWTH_BYTES_MAX, "{resident} -> {resident_after}");
}

#[test]
fn whoever_comes_in_a_crowd_waits_between_turns_and_gets_in() {
    const CROWD: usize = 30;
    let server = Process::start(&["--shards", "1"]);
    let strings: Vec<_> = (0..CROWD).map(|at| server.string(&format!("person-{at}"))).collect();
    let (mut bob, _) = Raw::log_in(&server.string("bob"), "a", Default::default());
    let string: ConnectionString = strings[0].parse().expect("a connection string");
    // Nobody turns the shard between two of them, unless something else does.
    let mut silent = Vec::new();
    while server.counted("damso_login_steps_put_off_total", "") == 0.0 {
        silent.extend((0..CROWD).map(|_| plain(&string).expect("a connection")));
        assert!(silent.len() < 100 * CROWD, "a crowd is never put off");
    }
    let coming: Vec<_> = strings
        .into_iter()
        .map(|string| std::thread::spawn(move || Raw::log_in(&string, "a", Default::default()).0))
        .collect();
    let mut in_: Vec<Raw> =
        coming.into_iter().map(|one| one.join().expect("they get in")).collect();
    for raw in in_.iter_mut().chain([&mut bob]) {
        raw.fence().expect("everybody is served");
    }
    server.wait_until("the queue ends", |server| server.metric("damso_login_steps_waiting") == 0.0);
}
