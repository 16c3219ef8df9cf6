//! Tokens that end under a live connection, and go on.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use damso_client::{Client, Error, State, Token};
use damso_proto::address::ConnectionString;
use damso_proto::code::{CloseCode, Code};
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;
use ring::signature::Ed25519KeyPair;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::json;

use super::raw::Raw;
use super::server::{Local, UNBOUND};

/// What is left to a token that ended 57 s ago: clocks may be off by a minute.
const LEFT: Duration = Duration::from_secs(3);

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A token of the server's own issuer with any end.
fn token(server: &Local, uid: &str, expires: u64) -> String {
    let pem = std::fs::read(server.data().join("token-key.pem")).expect("the issuer's key");
    let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).expect("a private key");
    let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der());
    let claims = json!({ "sub": uid, "aud": "damso", "exp": expires, "iat": now() });
    let part = |text: String| BASE64.encode(text);
    let signed =
        format!("{}.{}", part(json!({ "alg": "EdDSA" }).to_string()), part(claims.to_string()));
    let signature = pair.expect("an Ed25519 key").sign(signed.as_bytes());
    format!("{signed}.{}", BASE64.encode(signature))
}

fn with_token(server: &Local, token: &str) -> String {
    let mut string: ConnectionString = server.string("alice").parse().expect("a string");
    string.token = Some(Token::new(token).expect("a token"));
    string.reveal()
}

fn reauth(token: &str) -> Ask {
    Ask::Reauth(wire::Reauth { token: token.to_owned() })
}

/// Waits until the server says that the token ends soon.
fn warned(raw: &mut Raw) -> u64 {
    loop {
        if let Said::TokenExpiring(expiring) = raw.next().expect("a warning") {
            return expiring.expires_ms;
        }
    }
}

#[test]
fn a_session_ends_with_its_token_unless_that_is_renewed() {
    let server = Local::start(&["--shards", "2"]);
    let ended = now() - 60 + LEFT.as_secs();
    let string = with_token(&server, &token(&server, "alice", ended));
    let (mut stays, welcome) = Raw::log_in(&string, "stays", Default::default());
    let Some(Said::Welcome(welcome)) = welcome.first() else { panic!("{welcome:?}") };
    assert_eq!(welcome.token_expires_ms, ended * 1_000);
    let (mut goes, _) = Raw::log_in(&string, "goes", Default::default());
    for raw in [&mut stays, &mut goes] {
        assert_eq!(warned(raw), ended * 1_000);
    }
    let later = now() + 3_600;
    match stays.ask(reauth(&token(&server, "alice", later))).0 {
        Said::Renewed(renewed) => assert_eq!(renewed.token_expires_ms, later * 1_000),
        other => panic!("expected Renewed, heard {other:?}"),
    }
    assert_eq!(goes.closing(), Some(CloseCode::TokenExpired));
    let begun = Instant::now();
    while begun.elapsed() < LEFT {
        let heard = stays.fence().expect("it goes on");
        assert!(!heard.iter().any(|frame| matches!(frame.kind, Some(Said::TokenExpiring(_)))));
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn what_is_not_good_changes_nothing() {
    let server = Local::start(&UNBOUND);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "phone", Default::default());
    let (_bob, _) = Raw::log_in(&server.string("bob"), "b", Default::default());
    let (good, later) = (token(&server, "alice", now() + 60), now() + 3_600);
    for (token, code) in [
        (String::new(), Code::TokenInvalid),
        ("a.b.c".to_owned(), Code::TokenInvalid),
        (format!("{good}A"), Code::TokenInvalid),
        (token(&server, "bob", later), Code::TokenInvalid),
        (token(&server, "nobody", later), Code::TokenInvalid),
        (token(&server, "alice", now() - 61), Code::TokenExpired),
    ] {
        let refusal = alice.refusal(reauth(&token));
        assert_eq!((refusal.code, &*refusal.field), (code.number(), "token"), "{token}");
    }
    assert!(matches!(alice.ask(reauth(&good)).0, Said::Renewed(_)));
    alice.fence().expect("it goes on");
    let (nobody, _) = alice.ask(Ask::FindPeople(wire::FindPeople {
        uids: vec!["nobody".to_owned()],
        ..Default::default()
    }));
    assert!(matches!(nobody, Said::People(people) if people.people.is_empty()), "nobody was made");
}

#[test]
fn who_renews_too_often_is_told_when_to_come_back() {
    let server = Local::start(&["--shards", "2", "--sends-per-user", "5/s burst 10"]);
    let (mut alice, _) = Raw::log_in(&server.string("alice"), "phone", Default::default());
    let fresh = || reauth(&token(&server, "alice", now() + 3_600));
    assert!(matches!(alice.ask(fresh()).0, Said::Renewed(_)));
    let refusal = alice.refusal(fresh());
    assert_eq!(Code::from_number(refusal.code), Some(Code::RateLimited), "{refusal:?}");
    assert!((1..=2_000).contains(&refusal.retry_after_ms), "{refusal:?}");
    std::thread::sleep(Duration::from_millis(refusal.retry_after_ms.into()));
    assert!(matches!(alice.ask(fresh()).0, Said::Renewed(_)), "in its turn");
}

#[test]
fn a_renewed_session_is_revoked_like_any_other() {
    let server = Local::start(&UNBOUND);
    for round in 0..20 {
        let (mut alice, _) = Raw::log_in(&server.string("alice"), "phone", Default::default());
        let tokens: Vec<String> = (0..8).map(|_| token(&server, "alice", now() + 60)).collect();
        for token in &tokens {
            alice.post(reauth(token), super::raw::fresh_key()).expect("it goes out");
        }
        std::thread::sleep(Duration::from_micros(300 * round));
        assert_eq!(server.revoke("alice", None).expect("revoked"), 1, "{round}");
        assert_eq!(alice.closing(), Some(CloseCode::TokenInvalid), "{round}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn the_sdk_is_told_and_renews() {
    let server = Local::start(&["--shards", "2"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let ended = now() - 60 + LEFT.as_secs();
        let string = with_token(&server, &token(&server, "alice", ended));
        let client = Client::connect(string.parse().expect("a string")).expect("a client");
        let mut expiring = client.token_expiring();
        let told = expiring.wait_for(Option::is_some);
        let told = tokio::time::timeout(Duration::from_secs(20), told).await.expect("in time");
        assert_eq!(*told.expect("a client"), Some(ended * 1_000));
        let bobs = Token::new(&token(&server, "bob", now() + 60)).expect("a token");
        let refused = client.renew(&bobs).await;
        assert!(matches!(refused, Err(Error::Refused { code: 400, .. })), "{refused:?}");
        let later = now() + 3_600;
        let fresh = Token::new(&token(&server, "alice", later)).expect("a token");
        assert_eq!(client.renew(&fresh).await, Ok(later * 1_000));
        assert_eq!(*client.token_expiring().borrow(), None);
        tokio::time::sleep(LEFT + Duration::from_secs(1)).await;
        assert_eq!(*client.state().borrow(), State::Online);
    });
}
