//! A backend: HTTP/1.1 over TLS, one connection a request, and the key that it has.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use super::process::{Process, binary};

/// A server that says nothing for so long is broken.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// See the module's text.
#[derive(Clone)]
pub(crate) struct Backend {
    address: String,
    tls: Arc<ClientConfig>,
    key: String,
}

/// What it was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| &**value)
    }

    /// Status, code and field of a problem.
    pub(crate) fn problem(&self) -> (u16, &str, &str) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.body["status"], self.status, "{self:?}");
        assert!(self.body["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{self:?}");
        let text = |name: &str| self.body[name].as_str().unwrap_or_default();
        (self.status, text("code"), text("field"))
    }

    /// The body of what was done.
    pub(crate) fn done(self) -> Value {
        assert!(matches!(self.status, 200 | 201), "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        self.body
    }
}

impl Backend {
    /// One with a key of these scopes, which trusts the server's own CA.
    pub(crate) fn new(server: &Process, scopes: &[&str]) -> Self {
        let made = key(server, &[&["create", "shop", "--scope"], scopes].concat());
        Self::at(server.api(), &server.data(), made.trim())
    }

    /// One with this key at an address whose server keeps its data there.
    pub(crate) fn at(address: &str, data: &Path, key: &str) -> Self {
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_file(data.join("ca.pem")).expect("a CA");
        roots.add(ca).expect("a good CA");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { address: address.to_owned(), tls: Arc::new(tls), key: key.to_owned() }
    }

    /// The same with another key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { key: key.to_owned(), ..self.clone() }
    }

    /// The number that its key is known by.
    pub(crate) fn key_id(&self) -> &str {
        self.key.split('_').nth(1).expect("an id")
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask("PUT", path, &[], &body.to_string())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[], &body.to_string())
    }

    /// Posts a request that has a name.
    pub(crate) fn post_as(&self, name: &str, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &[("Idempotency-Key", name)], &body.to_string())
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, &[], "")
    }

    /// Asks anything. A body is JSON unless a header says otherwise.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let mut stream = self.begin(method, path, headers, body.len()).expect("a request");
        // A server that refuses by the head may not read the rest.
        drop(stream.write_all(body.as_bytes()).and_then(|()| stream.flush()));
        hear(&mut stream)
    }

    /// Asks a server that may end at any moment. `Err`: there is no answer, or a part of one.
    pub(crate) fn try_ask(
        &self,
        method: &str,
        path: &str,
        name: &str,
        body: &str,
    ) -> io::Result<Answer> {
        let mut stream = self.begin(method, path, &[("Idempotency-Key", name)], body.len())?;
        stream.write_all(body.as_bytes())?;
        stream.flush()?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text)?;
        Ok(read(&text))
    }

    /// Sends the head of a request alone.
    pub(crate) fn begin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        length: usize,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        let name = ServerName::try_from("127.0.0.1").expect("an address");
        let tls = ClientConnection::new(self.tls.clone(), name).expect("a TLS client");
        let mut stream = StreamOwned::new(tls, stream);
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: damso\r\nConnection: close\r\n");
        if !self.key.is_empty() {
            head.push_str(&format!("Authorization: Bearer {}\r\n", self.key));
        }
        if length > 0 {
            head.push_str(&format!("Content-Length: {length}\r\n"));
            if headers.iter().all(|(name, _)| *name != "Content-Type") {
                head.push_str("Content-Type: application/json\r\n");
            }
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        stream.flush()?;
        Ok(stream)
    }
}

/// Reads an answer to its end.
pub(crate) fn hear(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> Answer {
    let (mut text, mut some) = (Vec::new(), [0; 4_096]);
    loop {
        match stream.read(&mut some) {
            Ok(0) => break,
            Ok(read) => text.extend_from_slice(&some[..read]),
            // It ended without a word: what came before counts.
            Err(_) if !text.is_empty() => break,
            Err(error) => panic!("no answer: {error}"),
        }
    }
    read(&text)
}

fn read(text: &[u8]) -> Answer {
    let text = str::from_utf8(text).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Answer {
        status: status.expect("a status"),
        headers: headers.collect(),
        body: serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {text}")),
    }
}

/// What `damso key ...` prints.
pub(crate) fn key(server: &Process, arguments: &[&str]) -> String {
    let output = binary(&server.data()).arg("key").args(arguments).output();
    let output = output.expect("the binary runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}
