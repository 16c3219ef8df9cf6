//! What a backend asks to keep order: mutes, bans, and tokens and devices that count no more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use damso_proto::code::CloseCode;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;
use serde_json::{Value, json};

use super::api::{MEMBERS, MESSAGES, ORDER, log_in, order, said, start};
use super::raw::{Raw, text};

const BANS: &str = "/v1/channels/order:1234/bans";
/// A time in the year 2100.
const LATER_MS: u64 = 4_102_444_800_000;

fn seq(answer: &Value) -> u64 {
    answer["seq"].as_u64().expect("a seq")
}

#[test]
fn a_member_who_is_muted_writes_nothing_until_they_are_let_again() {
    let (_server, backend) = start(&[]);
    let channel = order(&backend, &["alice", "bob"])["channel"].as_u64().expect("a number");
    let mut bob = log_in(&backend, "bob");
    let mute = format!("{MEMBERS}/bob/mute");
    let muted = backend.put(&mute, &json!({"until_ms": LATER_MS})).done();
    assert!(seq(&muted) > 1, "an event tells it");
    let as_bob = json!({"text": "x", "as": "bob"});
    assert_eq!(backend.post(MESSAGES, &as_bob).problem(), (403, "muted", ""));
    assert!(matches!(bob.ask(text(channel, "x")).0, Said::Refusal(_)));
    let page = backend.get(MEMBERS).done();
    assert_eq!(page["members"][0]["muted_until_ms"], Value::Null);
    assert_eq!(page["members"][1]["muted_until_ms"], LATER_MS);
    let again = backend.put(&mute, &json!({"until_ms": LATER_MS})).done();
    assert_eq!(seq(&again), 0, "nothing to change");
    assert!(seq(&backend.delete(&mute).done()) > seq(&muted));
    backend.post(MESSAGES, &as_bob).done();
    assert!(matches!(bob.ask(text(channel, "x")).0, Said::Ack(_)));
    backend.put("/v1/users/carol", &json!({})).done();
    let stranger = backend.put(&format!("{MEMBERS}/carol/mute"), &json!({"until_ms": LATER_MS}));
    assert_eq!(stranger.problem(), (404, "not_found", ""));
}

#[test]
fn who_is_banned_is_out_stays_out_and_is_listed_until_it_is_lifted() {
    let (_server, backend) = start(&[]);
    order(&backend, &["alice", "bob", "carol"]);
    let listed = |query: &str| {
        let page = backend.get(&format!("{BANS}{query}")).done();
        let rows = page["bans"].as_array().expect("a page").clone();
        (rows, page["end"].as_bool().expect("a word"))
    };
    assert_eq!(listed(""), (vec![], true));
    let name = [("Idempotency-Key", "out")];
    let out = || backend.ask("PUT", &format!("{BANS}/bob"), &name, "");
    let first = out().done();
    assert!(seq(&first) > 1, "his removal is told");
    let body = json!({"until_ms": LATER_MS});
    backend.put(&format!("{BANS}/carol"), &body).done();
    let (first_page, end) = listed("?limit=1");
    assert_eq!((&first_page[0]["uid"], &first_page[0]["until_ms"]), (&json!("bob"), &Value::Null));
    assert!(!end);
    let (second_page, end) = listed(&format!("?after={}", first_page[0]["user"]));
    assert_eq!(second_page.len(), 1);
    assert_eq!(second_page[0]["until_ms"], LATER_MS);
    assert!(end);
    let add = || backend.post(MEMBERS, &json!({"uids": ["bob"]}));
    assert_eq!(add().problem(), (409, "banned", "uids"));
    backend.delete(&format!("{BANS}/bob")).done();
    assert!(seq(&add().done()) > seq(&first));
    assert_eq!(out().done(), first, "asked again under its name: the first answer, and he stays");
    assert_eq!(backend.get(ORDER).done()["members"], 2);
}

#[test]
fn a_direct_channel_has_neither_mutes_nor_bans() {
    let (_server, backend) = start(&[]);
    order(&backend, &["alice", "bob"]);
    let direct = json!({"kind": "direct", "members": ["alice", "bob"]});
    let direct = backend.post("/v1/channels", &direct).done()["channel"].clone();
    for (method, path) in [("PUT", "members/bob/mute"), ("PUT", "bans/bob"), ("GET", "bans")] {
        let path = format!("/v1/channels/{direct}/{path}");
        let answer = backend.ask(method, &path, &[], r#"{"until_ms":1}"#);
        assert_eq!(answer.problem(), (403, "not_allowed", ""), "{method} {path}");
    }
}

/// Whether a token opens the way in; else what the door says.
fn comes_in(string: &str, device: &str) -> Result<(), CloseCode> {
    let string = string.parse().expect("a connection string");
    let mut raw = Raw::connect(&string).expect("a connection");
    let hello = Ask::Hello(super::raw::hello(&string, device));
    raw.write(&super::raw::encode(&super::raw::frame(hello))).expect("Hello");
    match raw.next().expect("an answer") {
        Said::Welcome(_) => Ok(()),
        Said::Closing(closing) => Err(CloseCode::from_number(closing.code).expect("a known code")),
        other => panic!("expected Welcome or Closing, heard {other:?}"),
    }
}

#[test]
fn nothing_reaches_a_session_after_its_revocation_is_answered() {
    let (_server, backend) = start(&[]);
    order(&backend, &["alice", "bob"]);
    let issued = backend.post("/v1/users/bob/tokens", &json!({})).done();
    let string = issued["connection_string"].as_str().expect("a connection string");
    let (mut phone, _) = Raw::log_in(string, "phone", Default::default());
    let (mut tablet, _) = Raw::log_in(string, "tablet", Default::default());
    let stop = AtomicBool::new(false);
    let (last, ended) = thread::scope(|scope| {
        let talk = || {
            while !stop.load(Ordering::Relaxed) {
                backend.post(MESSAGES, &said("on and on")).done();
            }
        };
        let talking = scope.spawn(talk);
        phone.event();
        let ended = backend.delete("/v1/users/bob/devices/phone").done();
        let last = seq(&backend.post(MESSAGES, &said("without the phone")).done());
        stop.store(true, Ordering::Relaxed);
        talking.join().expect("it talked");
        (last, ended)
    });
    assert_eq!(ended["sessions"], 1);
    let heard = phone.rest().into_iter().filter_map(|frame| match frame.kind? {
        Said::Event(event) => Some(event.seq),
        _ => None,
    });
    assert!(heard.max().is_none_or(|seq| seq < last), "the phone hears nothing newer");
    assert_eq!(comes_in(string, "phone"), Err(CloseCode::Kicked));
    assert_eq!(comes_in(string, "watch"), Ok(()));
    tablet.fence().expect("the tablet is here");

    let ended = backend.delete("/v1/users/bob/tokens").done();
    assert!(ended["sessions"].as_u64() >= Some(1), "{ended}");
    tablet.rest();
    assert_eq!(comes_in(string, "tablet"), Err(CloseCode::TokenInvalid));
}

#[test]
fn a_revocation_asked_again_under_its_name_spares_what_was_issued_since() {
    let (_server, backend) = start(&[]);
    order(&backend, &["bob"]);
    let revoke = || {
        let name = [("Idempotency-Key", "lost phone")];
        backend.ask("DELETE", "/v1/users/bob/tokens", &name, "").done()
    };
    let fresh = || {
        let issued = backend.post("/v1/users/bob/tokens", &json!({})).done();
        issued["connection_string"].as_str().expect("a connection string").to_owned()
    };
    let old = fresh();
    assert_eq!(comes_in(&old, "d"), Ok(()));
    revoke();
    let gone = Err(CloseCode::TokenInvalid);
    assert_eq!(comes_in(&old, "d"), gone);
    let new = fresh();
    assert_eq!(comes_in(&new, "d"), Ok(()));
    revoke();
    assert_eq!((comes_in(&old, "d"), comes_in(&new, "d")), (gone, Ok(())));
    backend.delete("/v1/users/bob/tokens").done();
    assert_eq!(comes_in(&new, "d"), gone, "another request is another revocation");
}

#[test]
fn who_blocks_whom_is_said_in_a_persons_name_and_binds_people_not_the_service() {
    let (_server, backend) = start(&[]);
    order(&backend, &["alice", "bob", "carol"]);
    let direct = json!({"kind": "direct", "members": ["alice", "bob"]});
    let channel = backend.post("/v1/channels", &direct).done()["channel"].clone();
    let messages = format!("/v1/channels/{channel}/messages");
    let as_bob = json!({"text": "x", "as": "bob"});
    let last = seq(&backend.post(&messages, &as_bob).done());
    let mut alice = log_in(&backend, "alice");
    let name = [("Idempotency-Key", "enough")];
    let block = || backend.ask("PUT", "/v1/users/alice/blocks/bob", &name, "").done();
    assert_eq!(seq(&block()), last);
    let fence = alice.fence().expect("she is here");
    assert!(fence.iter().any(|frame| matches!(&frame.kind, Some(Said::Event(_)))), "she is told");
    for uid in ["alice", "bob"] {
        let refused = backend.post(&messages, &json!({"text": "x", "as": uid}));
        assert_eq!(refused.problem(), (403, "blocked", ""));
    }
    assert_eq!(seq(&backend.post(&messages, &said("of the service")).done()), last + 1);
    backend.post(MESSAGES, &as_bob).done();

    backend.put("/v1/users/alice/blocks/carol", &json!({})).done();
    let made = json!({"kind": "direct", "members": ["alice", "carol"]});
    assert_eq!(backend.post("/v1/channels", &made).status, 201, "the service makes it");
    let page = backend.get("/v1/users/alice/blocks?limit=1").done();
    assert_eq!((&page["users"][0]["uid"], &page["end"]), (&json!("bob"), &json!(false)));
    let rest = format!("/v1/users/alice/blocks?after={}", page["users"][0]["user"]);
    let page = backend.get(&rest).done();
    assert_eq!((&page["users"][0]["uid"], &page["end"]), (&json!("carol"), &json!(true)));
    assert_eq!(backend.get("/v1/users/bob/blocks").done()["users"], json!([]));

    backend.delete("/v1/users/alice/blocks/bob").done();
    backend.post(&messages, &as_bob).done();
    assert_eq!(seq(&block()), last, "asked again under its name: the first answer, and no block");
    backend.post(&messages, &as_bob).done();
}

#[test]
fn what_is_not_as_it_must_be_is_told_where() {
    let (_server, backend) = start(&[]);
    order(&backend, &["alice"]);
    let mute = format!("{MEMBERS}/alice/mute");
    let (nobody, bad_page) = (format!("{BANS}/nobody"), format!("{BANS}?limit=-1"));
    let long = format!("/v1/users/alice/devices/{}", "d".repeat(65));
    for (method, path, body, expected) in [
        ("PUT", &*mute, "", (422, "invalid", "until_ms")),
        ("PUT", &mute, r#"{"until_ms":0}"#, (422, "invalid", "until_ms")),
        ("PUT", &mute, r#"{"until_ms":1,"x":1}"#, (422, "invalid", "x")),
        ("DELETE", "/v1/channels/none/members/alice/mute", "", (404, "not_found", "")),
        ("PUT", &nobody, "", (404, "not_found", "")),
        ("GET", "/v1/channels/none/bans", "", (404, "not_found", "")),
        ("GET", &bad_page, "", (422, "invalid", "limit")),
        ("DELETE", "/v1/users/nobody/tokens", "", (404, "not_found", "")),
        ("PUT", "/v1/users/alice/blocks/nobody", "", (404, "not_found", "")),
        ("PUT", "/v1/users/nobody/blocks/alice", "", (404, "not_found", "")),
        ("PUT", "/v1/users/alice/blocks/alice", "", (422, "invalid", "blocked")),
        ("GET", "/v1/users/nobody/blocks", "", (404, "not_found", "")),
        ("DELETE", &long, "", (422, "invalid", "device")),
    ] {
        let answer = backend.ask(method, path, &[], body);
        assert_eq!(answer.problem(), expected, "{method} {path} {body}");
    }
}
