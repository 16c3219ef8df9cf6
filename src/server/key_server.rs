//! Fetches the keys of issuers from where they are published, on a thread of its own.

use std::io;
use std::sync::Arc;
use std::thread;

use ureq::http::{StatusCode, Uri};

use crate::model::limits::{TOKEN_KEYS_BYTES_MAX, TOKEN_KEYS_TIME_MAX};
use crate::runtime::clock::Clock;
use crate::session::token::{Fetched, JwksError, VerifyingKey, parse_jwks};

/// A thread that fetches keys until this is dropped.
#[derive(Debug)]
pub(super) struct KeyServer {
    fetched: Arc<Fetched>,
}

/// Why a fetch brought nothing.
#[derive(thiserror::Error, Debug)]
enum FetchError {
    /// No answer, a broken one, or one that is too long.
    #[error("{0}")]
    Http(#[from] ureq::Error),
    /// Something else than the keys. Redirects are not followed: the address is the operator's.
    #[error("it answers {0}")]
    Status(StatusCode),
    /// The answer is no key set.
    #[error(transparent)]
    Keys(#[from] JwksError),
}

impl KeyServer {
    /// Begins to fetch from `url`, at once and whenever it is due.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(super) fn start(
        url: String,
        fetched: Arc<Fetched>,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let server = Self { fetched: fetched.clone() };
        let agent = agent();
        let fetching = move || {
            while fetched.wait(&*clock) {
                let keys = match fetch(&agent, &url) {
                    Ok(keys) => Some(keys),
                    Err(error) => {
                        tracing::warn!(%url, %error, "the keys of the issuer cannot be fetched");
                        None
                    }
                };
                let result = if keys.is_some() { "good" } else { "bad" };
                metrics::counter!("damso_token_keys_fetches_total", "result" => result)
                    .increment(1);
                fetched.done(keys, clock.now());
            }
        };
        // Not joined: it may be within a fetch, which ends by itself.
        thread::Builder::new().name("token-keys".to_owned()).spawn(fetching)?;
        Ok(server)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.fetched.close();
    }
}

/// Whether keys may come from there: nobody on the way may change them.
pub(super) fn check(url: &str) -> Result<(), &'static str> {
    let uri: Uri = url.parse().map_err(|_| "not a URL")?;
    let host = uri.host().ok_or("a URL with a host is needed")?;
    let is_here = host == "localhost"
        || host.trim_matches(['[', ']']).parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if is_here => Ok(()),
        _ => Err("keys are fetched over https, or over http from this machine"),
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .timeout_global(Some(TOKEN_KEYS_TIME_MAX))
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .max_idle_connections(0)
        .build()
        .into()
}

fn fetch(agent: &ureq::Agent, url: &str) -> Result<Vec<VerifyingKey>, FetchError> {
    let mut answer = agent.get(url).call()?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(answer.status()));
    }
    let body = answer.body_mut().with_config().limit(TOKEN_KEYS_BYTES_MAX as u64);
    Ok(parse_jwks(&body.read_to_vec()?)?)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use damso_proto::id::Uid;

    use super::*;
    use crate::runtime::clock::RealClock;
    use crate::session::token::{Issuer, Pace, TokenError, Verifier};

    /// What has not happened after so long never will.
    const CHANGE_MAX: Duration = Duration::from_secs(20);

    /// What the issuer's server says next, and how often it was asked.
    #[derive(Default)]
    struct Issuing {
        answer: Mutex<Vec<u8>>,
        asked: AtomicUsize,
    }

    impl Issuing {
        fn says(&self, status: &str, body: &str) {
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nLocation: /\r\n\r\n{body}"
            );
            *self.answer.lock().unwrap() = answer.into_bytes();
        }

        fn serve(self: Arc<Self>) -> String {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            thread::spawn(move || {
                for stream in listener.incoming() {
                    self.answer_one(stream.unwrap());
                }
            });
            format!("http://{address}/jwks.json")
        }

        fn answer_one(&self, mut stream: TcpStream) {
            // One segment: the request is short.
            let read = stream.read(&mut [0; 4_096]).unwrap_or_default();
            if read > 0 {
                let answer = self.answer.lock().unwrap().clone();
                // Whoever has heard enough may be gone.
                drop(stream.write_all(&answer));
                self.asked.fetch_add(1, Ordering::SeqCst);
            }
        }

        /// Waits for two more requests: the first may have been answered before.
        fn is_asked_anew(&self) {
            let (begun, asked) = (Instant::now(), self.asked.load(Ordering::SeqCst));
            while self.asked.load(Ordering::SeqCst) < asked + 2 {
                assert!(begun.elapsed() < CHANGE_MAX, "it is not asked any more");
                thread::sleep(Duration::from_millis(2));
            }
        }
    }

    fn issuer(place: &tempfile::TempDir, name: &str) -> Issuer {
        Issuer::open_or_make(&place.path().join(name)).unwrap()
    }

    #[test]
    fn keys_follow_their_issuer_and_survive_its_failures() {
        let place = tempfile::tempdir().unwrap();
        let (old, new) = (issuer(&place, "old"), issuer(&place, "new"));
        let jwks = |issuers: &[&Issuer]| {
            let keys: Vec<_> = issuers.iter().map(|issuer| issuer.jwk()).collect();
            serde_json::json!({ "keys": keys }).to_string()
        };
        let issuing = Arc::new(Issuing::default());
        issuing.says("503 Busy", "later");
        let url = issuing.clone().serve();
        let short = Duration::from_millis(5);
        let pace = Pace { every: short, at_least: short, keep: Duration::from_secs(3_600) };
        let (fetched, clock) = (Arc::new(Fetched::new(pace)), Arc::new(RealClock::new()));
        let server = KeyServer::start(url, fetched.clone(), clock.clone()).unwrap();
        let verifier = Verifier::new(Vec::new()).and_fetched(Some(fetched));
        let uid = Uid::parse("alice").unwrap();
        let knows = |issuer: &Issuer| {
            let now_ms = clock.unix_ms();
            let token = issuer.issue(&uid, Duration::from_secs(60), now_ms);
            match verifier.verify(token.as_str(), now_ms) {
                Ok(_) => true,
                Err(TokenError::UnknownKey) => false,
                Err(other) => panic!("{other}"),
            }
        };
        issuing.is_asked_anew();
        assert!(!knows(&old));
        issuing.says("200 OK", &jwks(&[&old]));
        issuing.is_asked_anew();
        assert!(knows(&old) && !knows(&new));
        let long = format!("{} {}", jwks(&[&new]), " ".repeat(TOKEN_KEYS_BYTES_MAX));
        for (status, body) in [
            ("500 Broken", "no"),
            ("302 Elsewhere", &*jwks(&[&new])),
            ("404 Nothing", &jwks(&[&new])),
            ("200 OK", "<html>"),
            ("200 OK", "{\"keys\":[]}"),
            ("200 OK", &long),
        ] {
            issuing.says(status, body);
            issuing.is_asked_anew();
            assert!(knows(&old) && !knows(&new), "{status} {body:.20}");
        }
        *issuing.answer.lock().unwrap() = b"garbage".to_vec();
        issuing.is_asked_anew();
        assert!(knows(&old));
        issuing.says("200 OK", &jwks(&[&old, &new]));
        issuing.is_asked_anew();
        assert!(knows(&old) && knows(&new));
        issuing.says("200 OK", &jwks(&[&new]));
        issuing.is_asked_anew();
        assert!(!knows(&old) && knows(&new), "what is not published any more counts no more");
        drop(server);
        thread::sleep(short * 4);
        let asked = issuing.asked.load(Ordering::SeqCst);
        thread::sleep(short * 10);
        assert_eq!(issuing.asked.load(Ordering::SeqCst), asked, "nobody fetches any more");
    }

    #[test]
    fn one_that_never_answers_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let begun = Instant::now();
        assert!(matches!(fetch(&agent(), &url), Err(FetchError::Http(_))));
        assert!(begun.elapsed() < TOKEN_KEYS_TIME_MAX * 2, "{:?}", begun.elapsed());
    }

    #[test]
    fn https_asks_who_answers() {
        let pair = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&pair).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(pair.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}/", listener.local_addr().unwrap().port());
        let serving = thread::spawn(move || {
            let mut connection = rustls::ServerConnection::new(Arc::new(tls)).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            connection.complete_io(&mut stream).is_err()
        });
        let refused = fetch(&agent(), &url).unwrap_err().to_string();
        assert!(refused.contains("UnknownIssuer"), "nobody vouches for it: {refused}");
        assert!(serving.join().unwrap(), "and it was asked for nothing");
    }

    #[test]
    fn keys_come_over_https_or_from_this_machine() {
        for (url, good) in [
            ("https://id.example.org/.well-known/jwks.json", true),
            ("http://127.0.0.1:8080/jwks", true),
            ("http://[::1]/jwks", true),
            ("http://localhost/jwks", true),
            ("http://id.example.org/jwks", false),
            ("http://127.0.0.1.example.org/jwks", false),
            ("http://localhost@example.org/jwks", false),
            ("file:///etc/keys", false),
            ("/jwks", false),
            ("", false),
        ] {
            assert_eq!(check(url).is_ok(), good, "{url}");
        }
    }
}
