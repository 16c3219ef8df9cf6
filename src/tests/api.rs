//! What a backend asks by HTTP, and what it and people are told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use damso_proto::wire;
use damso_proto::wire::event::Content;
use damso_proto::wire::server_frame::Kind as Said;
use serde_json::{Value, json};

use super::backend::{Answer, Backend, hear, key};
use super::process::Process;
use super::raw::{Raw, text};

pub(super) const ORDER: &str = "/v1/channels/order:1234";
pub(super) const MEMBERS: &str = "/v1/channels/order:1234/members";
pub(super) const MESSAGES: &str = "/v1/channels/order:1234/messages";
/// As many requests as are carried out at a time.
const PLACES: usize = 64;

pub(super) fn start(arguments: &[&str]) -> (Process, Backend) {
    let server = Process::start(&[&["--shards", "2"], arguments].concat());
    let backend = Backend::new(&server, &["all"]);
    (server, backend)
}

/// People, and a channel of them under a key.
pub(super) fn order(backend: &Backend, uids: &[&str]) -> Value {
    for uid in uids {
        backend.put(&format!("/v1/users/{uid}"), &json!({})).done();
    }
    backend.put(ORDER, &json!({"name": "Order 1234", "members": uids})).done()
}

pub(super) fn log_in(backend: &Backend, uid: &str) -> Raw {
    let issued = backend.post(&format!("/v1/users/{uid}/tokens"), &json!({})).done();
    let string = issued["connection_string"].as_str().expect("a connection string");
    assert!(string.contains(issued["token"].as_str().expect("a token")));
    Raw::log_in(string, "d", Default::default()).0
}

/// The next message that somebody hears in any channel.
fn message(raw: &mut Raw) -> (u64, String) {
    loop {
        let event = raw.event();
        if let Some(Content::Text(text)) = event.content {
            return (event.sender, text);
        }
    }
}

pub(super) fn said(text: &str) -> Value {
    json!({ "text": text })
}

#[test]
fn the_first_hour_of_a_backend() {
    let (_server, backend) = start(&[]);
    let alice = backend.put("/v1/users/alice", &json!({"custom": {"name": "Alice"}})).done();
    assert_eq!(backend.put("/v1/users/alice", &json!({})).done(), alice, "what is noted stays");
    assert_eq!(backend.get("/v1/users/alice").done(), alice);
    backend.put("/v1/users/bob", &json!({})).done();

    let asked = json!({
        "name": "Order 1234", "owner": "alice", "members": ["bob"], "custom": {"total": "12"},
    });
    let made = backend.put(ORDER, &asked);
    assert_eq!(made.status, 201);
    let made = made.done();
    assert_eq!((&made["key"], &made["kind"]), (&json!("order:1234"), &json!("group")));
    assert_eq!((&made["members"], &made["custom"]["total"]), (&json!(2), &json!("12")));
    let found = backend.put(ORDER, &asked);
    assert_eq!((found.status, &found.body), (200, &made));
    assert_eq!(backend.get(ORDER).done(), made);
    assert_eq!(backend.get(&format!("/v1/channels/{}", made["channel"])).done(), made);

    let mut bob = log_in(&backend, "bob");
    let sent = backend.post(MESSAGES, &said("it was sent")).done();
    assert_eq!(message(&mut bob), (0, "it was sent".to_owned()), "of no person");
    backend
        .post(MESSAGES, &json!({"text": "thanks", "as": "alice", "reply_to": sent["seq"]}))
        .done();
    assert_eq!(message(&mut bob), (alice["user"].as_u64().expect("a number"), "thanks".into()));
    let body = json!({"custom": {"type": "map", "body_base64": "AP8="}, "silent": true});
    backend.post(MESSAGES, &body).done();

    let page = backend.get(&format!("{MESSAGES}?limit=3")).done();
    let rows = page["messages"].as_array().expect("a page");
    let shown: Vec<_> = rows.iter().map(|row| (&row["sender"], &row["text"])).collect();
    let none = &Value::Null;
    assert_eq!(
        shown,
        [(none, &json!("it was sent")), (&json!("alice"), &json!("thanks")), (none, none)]
    );
    assert_eq!((&rows[0]["id"], &rows[0]["time_ms"]), (&sent["id"], &sent["time_ms"]));
    assert_eq!(rows[1]["reply_to"], sent["seq"]);
    assert_eq!((&rows[2]["custom"], &rows[2]["silent"]), (&body["custom"], &json!(true)));
    let before = backend.get(&format!("{MESSAGES}?before={}", sent["seq"])).done();
    assert_eq!(before["messages"][0]["system"], "created");
    let after = backend.get(&format!("{MESSAGES}?after={}", rows[1]["seq"])).done();
    assert_eq!(after["messages"].as_array().map(Vec::len), Some(1));

    let direct = json!({"kind": "direct", "members": ["alice", "bob"]});
    let (first, again) =
        (backend.post("/v1/channels", &direct), backend.post("/v1/channels", &direct));
    assert_eq!((first.status, again.status), (201, 200));
    assert_eq!(first.body["channel"], again.body["channel"]);

    let stats = backend.get("/v1/stats").done();
    assert_eq!((&stats["people_here"], &stats["connections"]), (&json!(1), &json!(1)));
    assert!(stats["channels_at_work"].as_u64() > Some(0), "{stats}");
}

#[test]
fn members_come_get_roles_and_go() {
    let (_server, backend) = start(&[]);
    order(&backend, &["alice"]);
    for uid in ["bob", "carol"] {
        backend.put(&format!("/v1/users/{uid}"), &json!({})).done();
    }
    let added = backend.post(MEMBERS, &json!({"uids": ["bob", "carol"], "role": "reader"})).done();
    assert!(added["seq"].as_u64() > Some(1), "{added}");
    backend.put(&format!("{MEMBERS}/carol"), &json!({"role": "owner"})).done();
    let listed = |query: &str| {
        let page = backend.get(&format!("{MEMBERS}{query}")).done();
        let rows = page["members"].as_array().expect("a page").clone();
        let pairs =
            rows.iter().map(|row| format!("{} {}", row["uid"], row["role"]).replace('"', ""));
        (pairs.collect::<Vec<_>>(), page["end"].clone(), rows)
    };
    let (first, end, rows) = listed("?limit=2");
    assert_eq!((first, end), (vec!["alice member".into(), "bob reader".into()], json!(false)));
    let (rest, end, _) = listed(&format!("?after={}", rows[1]["user"]));
    assert_eq!((rest, end), (vec!["carol owner".into()], json!(true)));
    let reader = backend.post(MESSAGES, &json!({"text": "x", "as": "bob"}));
    assert_eq!(reader.problem(), (403, "not_allowed", ""));
    let removed = backend.delete(&format!("{MEMBERS}/bob")).done();
    assert!(removed["seq"].as_u64() > added["seq"].as_u64());
    assert_eq!(backend.delete(&format!("{MEMBERS}/bob")).done()["seq"], 0, "nothing to change");
    let stranger = backend.post(MESSAGES, &json!({"text": "x", "as": "bob"}));
    assert_eq!(stranger.problem(), (403, "not_allowed", "as"));
    assert_eq!(listed("").0, ["alice member", "carol owner"]);
}

#[test]
fn a_request_that_is_asked_again_under_its_name_happens_once() {
    let (_server, backend) = start(&[]);
    order(&backend, &["alice"]);
    let first = backend.post_as("a", MESSAGES, &json!({"text": "once", "silent": true})).done();
    // The same object in another order is the same request.
    let header = [("Idempotency-Key", "a")];
    let again =
        backend.ask("POST", MESSAGES, &header, r#"{ "silent":true, "text":"once" }"#).done();
    assert_eq!((&again["seq"], &again["id"]), (&first["seq"], &first["id"]));
    assert_eq!((&first["duplicate"], &again["duplicate"]), (&json!(false), &json!(true)));
    let other = backend.post_as("a", MESSAGES, &said("other"));
    assert_eq!(other.problem(), (422, "key_reused", "Idempotency-Key"));
    let elsewhere = backend.post_as("a", "/v1/channels", &json!({"name": "x"}));
    assert_eq!(elsewhere.problem(), (422, "key_reused", "Idempotency-Key"));
    let person = json!({"text": "hers", "as": "alice"});
    let hers = [0, 1].map(|_| backend.post_as("b", MESSAGES, &person).done()["seq"].clone());
    assert_eq!(hers[0], hers[1]);

    let make = || backend.post_as("c", "/v1/channels", &json!({"name": "no key"}));
    let (one, same) = (make(), make());
    assert_eq!((one.status, same.status), (201, 201), "the same answer");
    assert_eq!(one.body["channel"], same.body["channel"]);
    let another = backend.post("/v1/channels", &json!({"name": "no key"})).done();
    assert_ne!(another["channel"], one.body["channel"], "without a name each is its own");

    // What was noted since is not noted over by whoever repeats what came before.
    let note = |name: &str, text: &str| {
        let body = json!({"custom": {"name": text}});
        let header = [("Idempotency-Key", name)];
        let noted = backend.ask("PUT", "/v1/users/bob", &header, &body.to_string()).done();
        noted["custom"]["name"].as_str().expect("a note").to_owned()
    };
    assert_eq!([note("e", "Bob"), note("f", "Robert")], ["Bob", "Robert"]);
    assert_eq!(note("e", "Bob"), "Robert");

    let add = || backend.post_as("d", MEMBERS, &json!({"uids": ["bob"]})).done();
    assert_eq!(add(), add());
    let page = backend.get(MESSAGES).done();
    let texts = page["messages"].as_array().expect("a page").iter();
    let texts: Vec<_> = texts.filter_map(|row| row["text"].as_str()).collect();
    assert_eq!(texts, ["once", "hers"]);
}

#[test]
fn a_key_does_what_its_scopes_say_and_the_refusal_names_the_missing_one() {
    let (server, backend) = start(&[]);
    order(&backend, &["alice"]);
    backend.put("/v1/users/bob", &json!({})).done();
    let muted = format!("{MEMBERS}/alice/mute");
    let routes: [(&str, &str, &str, Value); 15] = [
        ("users", "DELETE", "/v1/users/alice/tokens", json!({})),
        ("users", "DELETE", "/v1/users/alice/devices/d", json!({})),
        ("users", "PUT", "/v1/users/bob/blocks/alice", json!({})),
        ("read", "GET", "/v1/users/alice/blocks", json!({})),
        ("channels", "PUT", &muted, json!({"until_ms": 1})),
        ("read", "GET", "/v1/channels/order:1234/bans", json!({})),
        ("users", "PUT", "/v1/users/bob", json!({})),
        ("users", "POST", "/v1/users/alice/tokens", json!({})),
        ("channels", "PUT", ORDER, json!({"name": "Order 1234"})),
        ("channels", "PATCH", ORDER, json!({"name": "Order 1234"})),
        ("channels", "POST", MEMBERS, json!({"uids": ["alice"]})),
        ("messages", "POST", MESSAGES, said("x")),
        ("read", "GET", MESSAGES, json!({})),
        ("read", "GET", "/v1/users/alice", json!({})),
        ("stats", "GET", "/v1/stats", json!({})),
    ];
    for scope in ["users", "channels", "messages", "read", "stats"] {
        let one = Backend::new(&server, &[scope]);
        for (needed, method, path, body) in &routes {
            let answer = one.ask(method, path, &[], &body.to_string());
            if scope == *needed {
                answer.done();
            } else {
                assert_eq!(answer.problem(), (403, "not_allowed", ""), "{scope} {path}");
                let detail = answer.body["detail"].as_str().expect("text");
                assert!(detail.contains(&format!("\"{needed}\"")), "{detail}");
            }
        }
    }
    Backend::new(&server, &["stats", "read"]).get("/v1/stats").done();
}

#[test]
fn whoever_has_no_good_key_learns_nothing_but_how_to_get_one() {
    let (server, backend) = start(&[]);
    let refused = |answer: Answer, word: &str| {
        assert_eq!(answer.problem(), (401, "token_invalid", ""));
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert!(answer.body["detail"].as_str().is_some_and(|it| it.contains(word)), "{answer:?}");
    };
    refused(backend.with_key("").get("/v1/stats"), "damso key create");
    let (head, secret) = backend.key().rsplit_once('_').expect("a secret");
    let other = format!("{head}_{}", secret.replace('a', "b").replace('1', "2"));
    for bad in ["x", "dsk_1_00", &other, &format!("dsk_99_{secret}")] {
        refused(backend.with_key(bad).get("/v1/stats"), "damso key list");
    }
    // A stranger's body is not waited for.
    let strange = backend.with_key("x");
    let mut begun = strange.begin("PUT", "/v1/users/a", &[], 100).expect("a head goes out");
    refused(hear(&mut begun), "damso key list");

    backend.get("/v1/stats").done();
    assert!(key(&server, &["list"]).contains("good      all"));
    key(&server, &["revoke", backend.key_id()]);
    refused(backend.get("/v1/stats"), "revoked");
    assert!(key(&server, &["list"]).contains("revoked   all"));
    let described = backend.with_key("").get("/v1/openapi.json").done();
    assert_eq!(described["openapi"], "3.1.0", "anybody may read how it is done");
}

#[test]
fn a_request_that_is_not_as_it_must_be_is_told_where() {
    let (_server, backend) = start(&[]);
    order(&backend, &["alice"]);
    let check = |(method, path): (&str, &str), body: &str, expected: (u16, &str, &str)| {
        let answer = backend.ask(method, path, &[], body);
        assert_eq!(answer.problem(), expected, "{method} {path} {body}");
    };
    let send = ("POST", MESSAGES);
    check(send, r#"{"text":"x""#, (400, "malformed", ""));
    check(send, r#"{"text":"x"} {}"#, (400, "malformed", ""));
    check(send, "[]", (422, "invalid", ""));
    check(send, r#"{"txt":"x"}"#, (422, "invalid", "txt"));
    check(send, r#"{"text":1}"#, (422, "invalid", "text"));
    check(
        send,
        r#"{"custom":{"type":"t","body_base64":7}}"#,
        (422, "invalid", "custom.body_base64"),
    );
    check(
        send,
        r#"{"custom":{"type":"t","body_base64":"?"}}"#,
        (422, "invalid", "custom.body_base64"),
    );
    check(send, r#"{"custom":{"type":"t","body_base64":"","x":0}}"#, (422, "invalid", "custom.x"));
    check(send, r#"{"text":"x","reply_to":-1}"#, (422, "invalid", "reply_to"));
    check(send, r#"{"text":"x","reply_to":99}"#, (422, "invalid", "reply_to"));
    check(send, r#"{"text":"x","as":""}"#, (422, "invalid", "as"));
    check(send, r#"{"text":"x","as":"nobody"}"#, (422, "not_found", "as"));
    check(send, "", (422, "invalid", "text"));
    check(send, &said(&"x".repeat(16 * 1024 + 1)).to_string(), (422, "too_large", "text"));
    check(send, &said(&"x".repeat(64 * 1024)).to_string(), (413, "too_large", ""));
    check(("PUT", "/v1/users/a%00"), "", (422, "invalid", "uid"));
    check(("PUT", "/v1/users/a"), r#"{"custom":{"n":1}}"#, (422, "invalid", "custom.n"));
    check(("POST", "/v1/users/alice/tokens"), r#"{"hours":0}"#, (422, "invalid", "hours"));
    check(("POST", "/v1/users/nobody/tokens"), "", (404, "not_found", ""));
    check(("GET", "/v1/users/nobody"), "", (404, "not_found", ""));
    check(("PUT", "/v1/channels/1234"), r#"{"name":"x"}"#, (422, "invalid", "key"));
    check(("PUT", "/v1/channels/new"), "", (422, "invalid", "name"));
    check(("PUT", "/v1/channels/new"), r#"{"name":"x","kind":"self"}"#, (422, "invalid", "kind"));
    let nobody = r#"{"name":"x","members":["nobody"]}"#;
    check(("PUT", "/v1/channels/new"), nobody, (422, "not_found", "members"));
    let other_kind = r#"{"name":"x","kind":"broadcast"}"#;
    check(("PUT", ORDER), other_kind, (409, "limit_reached", ""));
    check(
        ("POST", "/v1/channels"),
        r#"{"kind":"direct","members":["alice"]}"#,
        (422, "invalid", "members"),
    );
    check(("GET", "/v1/channels/none"), "", (404, "not_found", ""));
    check(("GET", "/v1/channels/99"), "", (404, "not_found", ""));
    check(("GET", "/v1/channels/3"), "", (404, "not_found", ""));
    check(("POST", "/v1/channels/none/messages"), r#"{"text":"x"}"#, (404, "not_found", ""));
    check(("POST", MEMBERS), "", (422, "invalid", "uids"));
    check(("POST", MEMBERS), r#"{"uids":["nobody"]}"#, (422, "not_found", "uids"));
    check(("POST", MEMBERS), r#"{"uids":["alice"],"role":"king"}"#, (422, "invalid", "role"));
    check(("DELETE", &format!("{MEMBERS}/nobody")), "", (404, "not_found", ""));
    check(("GET", &format!("{MESSAGES}?limit=x")), "", (422, "invalid", "limit"));
    check(("GET", &format!("{MESSAGES}?page=1")), "", (422, "invalid", "page"));
    check(("GET", &format!("{MESSAGES}?before=1&after=1")), "", (422, "invalid", "after"));
    check(("GET", "/v1/nothing"), "", (404, "unknown_request", ""));
    check(("GET", "/"), "", (404, "unknown_request", ""));
    check(("PATCH", "/v1/stats"), "", (405, "unknown_request", ""));
    assert_eq!(backend.delete("/v1/stats").header("allow"), Some("GET,HEAD"));

    let form = backend.ask("POST", MESSAGES, &[("Content-Type", "text/plain")], "text=x");
    assert_eq!(form.problem(), (415, "malformed", ""));
    for name in ["", &"n".repeat(256), "\u{e9}"] {
        let named = backend.post_as(name, MESSAGES, &said("x"));
        assert_eq!(named.problem(), (422, "invalid", "Idempotency-Key"), "{name:?}");
    }
    // None of it was sent, and none of it took a name.
    assert_eq!(backend.get(ORDER).done()["head"], 1);
    backend.post_as("n", MESSAGES, &said("x")).done();
}

#[test]
fn nothing_reaches_a_person_after_the_backend_was_told_that_they_are_out() {
    let (_server, backend) = start(&[]);
    order(&backend, &["alice", "bob"]);
    let mut bob = log_in(&backend, "bob");
    for _ in 0..5 {
        let stop = AtomicBool::new(false);
        let removed = thread::scope(|scope| {
            let talk = || {
                while !stop.load(Ordering::Relaxed) {
                    backend.post(MESSAGES, &said("on and on")).done();
                }
            };
            let talking = [scope.spawn(talk), scope.spawn(talk)];
            message(&mut bob);
            let removed = backend.delete(&format!("{MEMBERS}/bob")).done();
            backend.post(MESSAGES, &said("he is out")).done();
            stop.store(true, Ordering::Relaxed);
            for talking in talking {
                talking.join().expect("it talked");
            }
            removed["seq"].as_u64().expect("a seq")
        });
        let channel = backend.get(ORDER).done()["channel"].as_u64().expect("a number");
        let heard = bob.fence().expect("he is here");
        let of_channel = heard.into_iter().filter_map(|frame| match frame.kind? {
            Said::Event(event) if event.channel == channel => Some(event.seq),
            _ => None,
        });
        let last = of_channel.last().expect("he heard of it");
        assert_eq!(last, removed, "his removal is the last that he hears");
        backend.post(MEMBERS, &json!({"uids": ["bob"]})).done();
    }
}

#[test]
fn as_many_requests_as_there_are_places_are_carried_out_and_the_next_comes_back() {
    let (server, backend) = start(&[]);
    let held: Vec<_> = (0..PLACES)
        .map(|_| backend.begin("PUT", "/v1/users/a", &[], 100).expect("a head goes out"))
        .collect();
    server.wait_until("a refusal", |_| {
        let answer = backend.get("/v1/stats");
        if answer.status == 200 {
            return false;
        }
        assert_eq!(answer.problem(), (503, "overloaded", ""));
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(answer.body["retry_after_ms"], 500);
        true
    });
    assert!(server.counted("damso_api_refused_total", "full") > 0.0);
    drop(held);
    server.wait_until("a place", |_| backend.get("/v1/stats").status == 200);
}

#[test]
fn a_persons_message_counts_for_the_channels_rate_and_the_services_does_not() {
    let slow = ["--sends-per-channel", "2/s burst 3", "--sends-per-user", "1/s burst 2"];
    let (_server, backend) = start(&slow);
    order(&backend, &["alice"]);
    for _ in 0..10 {
        backend.post(MESSAGES, &said("x")).done();
    }
    let refused = (0..10)
        .map(|_| backend.post(MESSAGES, &json!({"text": "x", "as": "alice"})))
        .find(|answer| answer.status != 200);
    let refused = refused.expect("too many at last");
    assert_eq!(refused.problem(), (429, "rate_limited", "channel"));
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert!(refused.body["retry_after_ms"].as_u64().is_some_and(|ms| ms <= 1_500), "{refused:?}");
    backend.post(MESSAGES, &said("x")).done();
}

#[test]
fn a_request_that_is_being_made_when_the_server_is_to_stop_is_still_answered() {
    let (server, backend) = start(&[]);
    order(&backend, &["alice"]);
    let body = said("last words").to_string();
    let mut begun = backend.begin("POST", MESSAGES, &[], body.len()).expect("a head goes out");
    // Once the server answers somebody else, it has read that head, too.
    backend.get("/v1/stats").done();
    server.terminate();
    std::io::Write::write_all(&mut begun, body.as_bytes()).expect("a body goes out");
    std::io::Write::flush(&mut begun).expect("a body goes out");
    let sent = hear(&mut begun).done();
    let (status, _, directory) = server.wait();
    assert!(status.success());
    let server = Process::start_on(directory, "info", &["--shards", "2"]);
    let backend = Backend::new(&server, &["read"]);
    let page = backend.get(&format!("{MESSAGES}?limit=1")).done();
    assert_eq!(page["messages"][0]["id"], sent["id"]);
}

#[test]
fn a_message_of_the_service_can_be_sent_by_no_person() {
    let (_server, backend) = start(&[]);
    let channel = order(&backend, &["alice", "bob"])["channel"].as_u64().expect("a number");
    let (mut alice, mut bob) = (log_in(&backend, "alice"), log_in(&backend, "bob"));
    assert!(matches!(alice.ask(text(channel, "hello")).0, Said::Ack(_)));
    let (sender, _) = message(&mut bob);
    assert_ne!(sender, 0);
    let ask = wire::client_frame::Kind::RemoveMember(wire::RemoveMember { channel, user: 0 });
    assert!(matches!(alice.ask(ask).0, Said::Refusal(_)));
}

#[test]
fn a_server_whose_tokens_come_from_elsewhere_says_so() {
    let place = tempfile::TempDir::new().expect("a temporary directory");
    let issuer = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
    let path = place.path().join("issuer.pem");
    std::fs::write(&path, issuer.public_key_pem()).expect("a file");
    let (_server, backend) = start(&["--token-key", path.to_str().expect("text")]);
    backend.put("/v1/users/alice", &json!({})).done();
    let refused = backend.post("/v1/users/alice/tokens", &json!({}));
    assert_eq!(refused.problem(), (409, "external_issuer", ""));
}
