//! Whose tokens count, and how keys come from their issuer while people log in.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine as _};
use damso_proto::address::{ConnectionString, Token};
use damso_proto::code::CloseCode;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

use super::process::Process;
use super::raw::{Raw, encode, frame, hello};

/// Logins with keys that nobody knows.
const FLOOD: usize = 200;

/// An issuer of tokens, whose keys come over loopback.
struct Issuer {
    pair: Ed25519KeyPair,
    kid: &'static str,
}

impl Issuer {
    fn new(seed: u8, kid: &'static str) -> Self {
        Self { pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("any 32 bytes"), kid }
    }

    fn jwk(&self) -> Value {
        let x = BASE64.encode(self.pair.public_key());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": x })
    }

    /// A connection string for alice at this server.
    fn string(&self, server: &Process) -> ConnectionString {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let header = json!({ "alg": "EdDSA", "kid": self.kid });
        let claims = json!({ "sub": "alice", "aud": "damso", "exp": now + 600 });
        let part = |value: &Value| BASE64.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = BASE64.encode(self.pair.sign(signed.as_bytes()));
        let mut string: ConnectionString =
            format!("damso://{}", server.address()).parse().expect("an address");
        string.token = Some(Token::new(&format!("{signed}.{signature}")).expect("a token"));
        string
    }
}

/// How a login ends; `None`: with Welcome.
fn login(string: &ConnectionString) -> Option<CloseCode> {
    let mut raw = Raw::connect(string).expect("a connection");
    raw.write(&encode(&frame(Ask::Hello(hello(string, "phone"))))).expect("Hello");
    match raw.next().expect("an answer to Hello") {
        Said::Welcome(_) => None,
        Said::Closing(closing) => CloseCode::from_number(closing.code),
        other => panic!("expected Welcome or Closing, heard {other:?}"),
    }
}

/// Publishes what `body` holds, `after` a while; counts how often it is asked.
fn publish(body: Arc<Mutex<String>>, asked: Arc<AtomicUsize>, after: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/jwks.json", listener.local_addr().expect("its address"));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let read = stream.read(&mut [0; 4_096]).expect("a request");
            assert!(read > 0);
            asked.fetch_add(1, Ordering::SeqCst);
            thread::sleep(after);
            let body = body.lock().expect("nobody panics").clone();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).expect("an answer");
        }
    });
    url
}

#[test]
fn who_comes_before_the_keys_waits_for_them_and_a_flood_of_unknown_keys_fetches_nothing() {
    let (known, unknown) = (Issuer::new(1, "known"), Issuer::new(2, "unknown"));
    let body = Arc::new(Mutex::new(json!({ "keys": [known.jwk()] }).to_string()));
    let asked = Arc::new(AtomicUsize::new(0));
    let url = publish(body, asked.clone(), Duration::from_secs(1));
    let server = Process::start(&["--shards", "2", "--token-jwks", &url]);
    assert_eq!(login(&known.string(&server)), None, "the first login waits for the keys");
    let string = unknown.string(&server);
    for n in 0..FLOOD {
        // Not sent away for good: the key may be known in a minute.
        assert_eq!(login(&string), Some(CloseCode::Overloaded), "{n}");
    }
    assert_eq!(login(&known.string(&server)), None);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "once a minute");
    let forged = Issuer::new(3, "known").string(&server);
    assert_eq!(login(&forged), Some(CloseCode::TokenInvalid), "a known name is no key");
}

#[test]
fn keys_come_from_several_files_and_the_built_in_issuer_is_off() {
    let (one, two, none) = (Issuer::new(1, "1"), Issuer::new(2, "2"), Issuer::new(3, "3"));
    let place = tempfile::TempDir::new().expect("a temporary directory");
    let (jwks, pem) = (place.path().join("one.json"), place.path().join("two.pem"));
    std::fs::write(&jwks, json!({ "keys": [one.jwk()] }).to_string()).expect("a file");
    let spki = [
        &[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0],
        two.pair.public_key().as_ref(),
    ];
    let text = base64::prelude::BASE64_STANDARD.encode(spki.concat());
    let text = format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n");
    std::fs::write(&pem, text).expect("a file");
    let paths = [&jwks, &pem].map(|path| path.to_str().expect("a path"));
    let server =
        Process::start(&["--shards", "1", "--token-key", paths[0], "--token-key", paths[1]]);
    for (issuer, expected) in [(&one, None), (&two, None), (&none, Some(CloseCode::TokenInvalid))] {
        assert_eq!(login(&issuer.string(&server)), expected, "{}", issuer.kid);
    }
    assert!(!server.data().join("token-key.pem").exists());
}
