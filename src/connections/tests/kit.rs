//! A shard under test, and clients that really speak TLS to look at what it sends.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes};
use damso_proto::id::{ChannelNo, Seq};
use damso_proto::time::Moment;
use damso_proto::wire;
use damso_proto::wire::server_frame::Kind;
use prost::Message as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};

use crate::connections::{
    Cable, Connections, MemorySocket, Options, Received, Scratch, Socket, Start, Wire,
};
use crate::model::event::EncodedEvent;
use crate::runtime::route::{ConnectionId, ShardNo};

/// Bytes that a line holds unless a test says otherwise.
pub(crate) const ROOMY: usize = 1 << 20;

/// What a client was sent, as far as the tests care.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Got {
    Event(u64, u64),
    Behind(u64, u64, u64),
    /// A frame with this request id.
    Answer(u64),
}

/// The server's and the client's side of TLS, made once.
pub(super) fn configs() -> &'static (Arc<ServerConfig>, Arc<ClientConfig>) {
    static CONFIGS: OnceLock<(Arc<ServerConfig>, Arc<ClientConfig>)> = OnceLock::new();
    CONFIGS.get_or_init(|| {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let certificate: CertificateDer<'static> = made.cert.der().clone();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let mut server = ServerConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        server.send_tls13_tickets = 1;
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let mut client =
            ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        client.enable_secret_extraction = true;
        (Arc::new(server), Arc::new(client))
    })
}

/// A client on the other end of a line.
pub(crate) struct Client {
    pub(super) socket: MemorySocket,
    pub(super) tls: ClientConnection,
    pub(super) cable: Cable,
    plain: Vec<u8>,
}

impl Client {
    /// A client and the server's end of its line, before the handshake.
    pub(super) fn new(capacity: usize) -> (Wire, Self) {
        let (left, right, cable) = MemorySocket::pair(capacity);
        let (server, client) = configs();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(client.clone(), name).unwrap();
        let wire = Wire::accept(Box::new(left), server.clone()).unwrap();
        (wire, Self { socket: right, tls, cable, plain: Vec::new() })
    }

    /// A client whose handshake is over.
    pub(crate) fn connected(capacity: usize) -> (Wire, Self) {
        let (mut wire, mut client) = Self::new(capacity);
        let mut scratch = Scratch::default();
        while !(wire.handshaken() && wire.is_drained() && !client.tls.is_handshaking()) {
            client.pump();
            wire.receive(&mut scratch, &mut Vec::new()).unwrap();
            wire.flush().unwrap();
        }
        client.pump();
        (wire, client)
    }

    /// Reads and writes what the line takes. `false`: it had nothing to do.
    pub(super) fn pump(&mut self) -> bool {
        let mut moved = false;
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = self.socket.try_read(&mut bytes) {
            moved = true;
            let mut bytes = &bytes[..read];
            while !bytes.is_empty() {
                self.tls.read_tls(&mut bytes).unwrap();
                self.tls.process_new_packets().unwrap();
                // `WouldBlock` ends what has been decrypted so far.
                let _ = self.tls.reader().read_to_end(&mut self.plain);
            }
        }
        while self.tls.wants_write() {
            let mut line = Line(&self.socket);
            if self.tls.write_tls(&mut line).is_err() {
                break;
            }
            moved = true;
        }
        moved
    }

    /// Says something to the server.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.tls.writer().write_all(bytes).unwrap();
        self.pump();
    }

    /// Plaintext that came since the last call.
    pub(super) fn bytes(&mut self) -> Vec<u8> {
        self.pump();
        std::mem::take(&mut self.plain)
    }

    /// Frames that came since the last call. Half a frame stays.
    pub(crate) fn got(&mut self) -> Vec<Got> {
        self.pump();
        let mut rest = self.plain.as_slice();
        let mut got = Vec::new();
        loop {
            let mut frame = rest;
            let Ok(length) = prost::decode_length_delimiter(&mut frame) else { break };
            if frame.len() < length {
                break;
            }
            let decoded = wire::ServerFrame::decode(&frame[..length]).expect("whole frames");
            frame.advance(length);
            rest = frame;
            got.push(match decoded.kind {
                Some(Kind::Event(event)) => Got::Event(event.channel, event.seq),
                Some(Kind::Standing(behind)) => Got::Behind(behind.channel, behind.from, behind.to),
                _ => Got::Answer(decoded.id),
            });
        }
        self.plain = rest.to_vec();
        got
    }
}

struct Line<'a>(&'a MemorySocket);

impl std::io::Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A shard's connections with their clients.
pub(super) struct Shard {
    pub(super) connections: Connections,
    pub(super) clients: Vec<(ConnectionId, Client)>,
    pub(super) now: Moment,
}

impl Shard {
    pub(super) fn new(options: Options) -> Self {
        let connections = Connections::new(options, ShardNo::new(0));
        Self { connections, clients: Vec::new(), now: Moment::from_micros(1) }
    }

    /// Takes in a client; returns its index.
    pub(super) fn connect(&mut self, capacity: usize) -> usize {
        let (wire, client) = Client::connected(capacity);
        let id = self.connections.enter(wire, self.now);
        self.clients.push((id, client));
        self.clients.len() - 1
    }

    pub(super) fn id(&self, client: usize) -> ConnectionId {
        self.clients[client].0
    }

    pub(super) fn join(&mut self, channel: u64, client: usize, start: u64) {
        let id = self.id(client);
        self.connections.join(ChannelNo::new(channel), id, Start::At(Seq::new(start)));
    }

    pub(super) fn append(&mut self, channel: u64, seq: u64, text: usize) {
        let frame = event(channel, seq, text);
        self.connections.append(ChannelNo::new(channel), Seq::new(seq), &frame, self.now);
    }

    /// Lets every connection's task look once: what is ready is written or read. Whether any was.
    pub(super) fn ready(&mut self) -> bool {
        let mut moved = false;
        let mut cx = Context::from_waker(Waker::noop());
        for (id, _) in &self.clients {
            let ready = self.connections.poll_ready(*id, true, &mut cx);
            if let Poll::Ready(Some(ready)) = ready {
                moved = true;
                if ready.writable {
                    self.connections.writable(*id, self.now);
                }
                if ready.readable {
                    let received = self.connections.receive(*id, &mut Vec::new());
                    if !matches!(received, Ok(Received::Some | Received::Blocked)) {
                        self.connections.remove(*id);
                    }
                }
            }
        }
        moved
    }

    /// Turns, and lets clients read, until nothing happens any more.
    pub(super) fn settle(&mut self) {
        loop {
            let turn = self.connections.turn(self.now);
            let read = self.clients.iter_mut().fold(false, |moved, (_, c)| c.pump() || moved);
            if !self.ready() && !read && !turn.more {
                return;
            }
        }
    }

    /// What every client got since the last call.
    pub(super) fn got(&mut self, client: usize) -> Vec<Got> {
        self.clients[client].1.got()
    }
}

/// An event's frame with a text of `text` bytes.
pub(super) fn event(channel: u64, seq: u64, text: usize) -> Bytes {
    let content = Some(wire::event::Content::Text("x".repeat(text)));
    let event = wire::Event { channel, seq, content, ..Default::default() };
    EncodedEvent::new(&event).frame().clone()
}

/// An answer's frame of at least `bytes` bytes.
pub(super) fn answer(request: u64, bytes: usize) -> Bytes {
    let closing = wire::Closing { text: "x".repeat(bytes), ..Default::default() };
    let kind = Some(Kind::Closing(closing));
    let frame = wire::ServerFrame { kind, id: request, more: false };
    frame.encode_length_delimited_to_vec().into()
}
