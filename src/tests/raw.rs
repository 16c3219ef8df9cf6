//! A client made of nothing but a TLS socket and frames, for what an SDK would never do.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use damso_proto::address::ConnectionString;
use damso_proto::code::CloseCode;
use damso_proto::id::Key;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;
use prost::Message as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, HandshakeKind, SignatureScheme,
    StreamOwned,
};

/// A server that says nothing for so long is broken.
const SILENCE_MAX: Duration = Duration::from_secs(20);

/// See the module's text.
pub(crate) struct Raw {
    stream: StreamOwned<ClientConnection, TcpStream>,
    left: VecDeque<u8>,
    next_request: u64,
    /// Bytes sent and received, TLS not counted.
    pub(crate) sent: usize,
    /// See `sent`.
    pub(crate) received: usize,
}

impl Raw {
    /// Connects and shakes hands; says nothing.
    pub(crate) fn connect(string: &ConnectionString) -> io::Result<Self> {
        Self::connect_as(string, trusting(&[b"damso/1"]))
    }

    /// Connects as `config` says; says nothing. The handshake goes on with what is said.
    pub(crate) fn connect_as(string: &ConnectionString, config: ClientConfig) -> io::Result<Self> {
        Ok(Self::over(plain(string)?, string, config))
    }

    /// Goes on with a stream that is connected already; says nothing.
    pub(crate) fn over(stream: TcpStream, string: &ConnectionString, config: ClientConfig) -> Self {
        let name = ServerName::try_from(string.host.clone()).expect("a host");
        let tls = ClientConnection::new(Arc::new(config), name).expect("a TLS client");
        let stream = StreamOwned::new(tls, stream);
        Self { stream, left: VecDeque::new(), next_request: 0, sent: 0, received: 0 }
    }

    /// Connects, says Hello, and reads Welcome.
    pub(crate) fn greet(string: &str, device: &str) -> (Self, wire::Welcome) {
        Self::greet_as(string, device, trusting(&[b"damso/1"]))
    }

    /// Connects as `config` says, says Hello, and reads Welcome.
    pub(crate) fn greet_as(
        string: &str,
        device: &str,
        config: ClientConfig,
    ) -> (Self, wire::Welcome) {
        let string: ConnectionString = string.parse().expect("a connection string");
        let mut raw = Self::connect_as(&string, config).expect("a connection");
        raw.write(&encode(&frame(Ask::Hello(hello(&string, device))))).expect("Hello");
        match raw.next() {
            Ok(Said::Welcome(welcome)) => (raw, welcome),
            other => panic!("expected Welcome, heard {other:?}"),
        }
    }

    /// Connects, says Hello and Resume in one flight, and reads up to Resumed.
    pub(crate) fn log_in(string: &str, device: &str, resume: wire::Resume) -> (Self, Vec<Said>) {
        let string: ConnectionString = string.parse().expect("a connection string");
        let mut raw = Self::connect(&string).expect("a connection");
        let heard = raw.come_in(&string, device, resume);
        (raw, heard)
    }

    /// Says Hello and Resume in one flight, and reads up to Resumed.
    pub(crate) fn come_in(
        &mut self,
        string: &ConnectionString,
        device: &str,
        resume: wire::Resume,
    ) -> Vec<Said> {
        let mut flight = encode(&frame(Ask::Hello(hello(string, device))));
        flight.extend(encode(&frame(Ask::Resume(wire::Resume { last: true, ..resume }))));
        self.write(&flight).expect("the login flight");
        let mut heard = Vec::new();
        while !matches!(heard.last(), Some(Said::Resumed(_))) {
            heard.push(self.next().expect("an answer to the login"));
        }
        heard
    }

    /// The server's own certificate, after the handshake.
    pub(crate) fn leaf(&self) -> CertificateDer<'static> {
        let chain = self.stream.conn.peer_certificates().expect("a handshake");
        chain.first().expect("a certificate").clone().into_owned()
    }

    /// How the handshake went.
    pub(crate) fn handshake(&self) -> Option<HandshakeKind> {
        self.stream.conn.handshake_kind()
    }

    /// Sends any bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sent += bytes.len();
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The next frame. `Err`: the connection is over.
    pub(crate) fn next_frame(&mut self) -> io::Result<wire::ServerFrame> {
        loop {
            let bytes = self.left.make_contiguous();
            let mut rest = &*bytes;
            if let Ok(length) = prost::encoding::decode_varint(&mut rest)
                && rest.len() as u64 >= length
            {
                let length = usize::try_from(length).expect("a length in memory");
                let frame = wire::ServerFrame::decode(&rest[..length]).expect("a frame");
                let used = bytes.len() - rest.len() + length;
                self.left.drain(..used);
                return Ok(frame);
            }
            let mut buffer = [0; 16 * 1024];
            let read = self.stream.read(&mut buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.received += read;
            self.left.extend(&buffer[..read]);
        }
    }

    /// The next frame's content.
    pub(crate) fn next(&mut self) -> io::Result<Said> {
        Ok(self.next_frame()?.kind.expect("a known kind"))
    }

    /// Sends a request with a fresh key and returns its answer; events that come before are kept.
    pub(crate) fn ask(&mut self, kind: Ask) -> (Said, Vec<wire::Event>) {
        self.ask_with(kind, fresh_key())
    }

    /// Sends a request with this key and returns its answer.
    pub(crate) fn ask_with(&mut self, kind: Ask, key: Key) -> (Said, Vec<wire::Event>) {
        let id = self.post(kind, key).expect("a request goes out");
        let mut events = Vec::new();
        loop {
            let frame = self.next_frame().expect("an answer");
            match frame.kind.expect("a known kind") {
                Said::Event(event) => events.push(event),
                kind if frame.id == id => return (kind, events),
                _ => {}
            }
        }
    }

    /// Reads history; every frame of the answer.
    pub(crate) fn pages(&mut self, kind: Ask) -> Vec<wire::Page> {
        let id = self.post(kind, fresh_key()).expect("a request goes out");
        let mut pages = Vec::new();
        loop {
            let frame = self.next_frame().expect("an answer");
            match frame.kind {
                Some(Said::Page(page)) if frame.id == id => pages.push(page),
                Some(other) if frame.id == id => panic!("expected a page, heard {other:?}"),
                _ => continue,
            }
            if !frame.more {
                return pages;
            }
        }
    }

    /// Sends a request with a key of any form and returns its answer.
    pub(crate) fn ask_bytes(&mut self, kind: Ask, key: Bytes) -> Said {
        let id = self.post_bytes(kind, key).expect("a request goes out");
        loop {
            let frame = self.next_frame().expect("an answer");
            if frame.id == id {
                return frame.kind.expect("a known kind");
            }
        }
    }

    /// Sends a request and does not wait.
    pub(crate) fn post(&mut self, kind: Ask, key: Key) -> io::Result<u64> {
        self.post_bytes(kind, Bytes::copy_from_slice(key.as_bytes()))
    }

    fn post_bytes(&mut self, kind: Ask, key: Bytes) -> io::Result<u64> {
        self.next_request += 1;
        let id = self.next_request;
        let frame = wire::ClientFrame { kind: Some(kind), id, key, ..Default::default() };
        self.write(&encode(&frame))?;
        Ok(id)
    }

    /// Asks with a fresh key, and is refused.
    pub(crate) fn refusal(&mut self, kind: Ask) -> wire::Refusal {
        match self.ask(kind).0 {
            Said::Refusal(refusal) => refusal,
            other => panic!("expected a refusal, heard {other:?}"),
        }
    }

    /// Everything that is said before the answer to a Ping sent now.
    pub(crate) fn fence(&mut self) -> io::Result<Vec<wire::ServerFrame>> {
        self.next_request += 1;
        let id = self.next_request;
        self.write(&encode(&frame(Ask::Ping(wire::Ping { id }))))?;
        let mut before = Vec::new();
        loop {
            let frame = self.next_frame()?;
            match &frame.kind {
                Some(Said::Pong(pong)) if pong.id == id => return Ok(before),
                _ => before.push(frame),
            }
        }
    }

    /// Everything that is still said, until the server ends the connection.
    pub(crate) fn rest(&mut self) -> Vec<wire::ServerFrame> {
        let mut frames = Vec::new();
        loop {
            match self.next_frame() {
                Ok(frame) => frames.push(frame),
                Err(error) => {
                    let silent = error.kind() == io::ErrorKind::WouldBlock;
                    assert!(!silent, "the connection stays open after {frames:?}");
                    return frames;
                }
            }
        }
    }

    /// Why the server ends the connection; `None`: it does not say.
    pub(crate) fn closing(&mut self) -> Option<CloseCode> {
        match self.rest().pop()?.kind {
            Some(Said::Closing(closing)) => CloseCode::from_number(closing.code),
            other => panic!("Closing comes last, not {other:?}"),
        }
    }

    /// The next event, whatever is said before it.
    pub(crate) fn event(&mut self) -> wire::Event {
        loop {
            if let Said::Event(event) = self.next().expect("an event") {
                return event;
            }
        }
    }
}

/// A frame that is no request.
pub(crate) fn frame(kind: Ask) -> wire::ClientFrame {
    wire::ClientFrame { kind: Some(kind), ..Default::default() }
}

/// A frame with its length in front.
pub(crate) fn encode(frame: &wire::ClientFrame) -> Vec<u8> {
    frame.encode_length_delimited_to_vec()
}

/// The first frame of a device.
pub(crate) fn hello(string: &ConnectionString, device: &str) -> wire::Hello {
    let token = string.token.as_ref().map(|token| token.reveal().to_owned()).unwrap_or_default();
    let device = device.to_owned();
    wire::Hello { min_version: 1, max_version: 1, token, device, ..Default::default() }
}

/// What a device hands over: its cursors by rising channel.
pub(crate) fn cursors(seqs: &[(u64, u64)], epoch: u64) -> wire::Resume {
    let mut before = 0;
    let mut resume = wire::Resume { epoch, ..Default::default() };
    for (channel, seq) in seqs {
        resume.channel_delta.push(channel - before);
        resume.seq.push(*seq);
        before = *channel;
    }
    resume
}

/// A text for a channel.
pub(crate) fn text(channel: u64, text: &str) -> Ask {
    let content = Some(wire::send::Content::Text(text.to_owned()));
    Ask::Send(wire::Send { channel, content, ..Default::default() })
}

/// A key that nobody has used.
pub(crate) fn fresh_key() -> Key {
    let uuid = uuid::Uuid::now_v7();
    Key::parse(uuid.as_bytes()).expect("a UUIDv7")
}

/// A TCP connection that speaks no TLS.
pub(crate) fn plain(string: &ConnectionString) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(string.authority())?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

/// The same with hardly any room for what comes: it waits at the server until it is read.
pub(crate) fn narrow(string: &ConnectionString) -> io::Result<TcpStream> {
    let mut addresses = string.authority().to_socket_addrs()?;
    let address = addresses.next().expect("an address");
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_recv_buffer_size(4 * 1024)?;
    socket.connect(&address.into())?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(SILENCE_MAX))?;
    Ok(socket.into())
}

/// TLS 1.3 with any server, offering these application protocols.
pub(crate) fn trusting(protocols: &[&[u8]]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Trusting(provider.clone()));
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3");
    let mut config =
        config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config
}

/// Trusts every server: what a certificate is worth is the SDK's business, and its tests'.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is off".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
