//! The whole client over real TLS on loopback, against a server that knows a few answers.

use std::sync::Arc;

use damso_proto::wire;
use damso_proto::wire::client_frame::Kind;
use damso_proto::wire::server_frame::Kind as Said;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::trust::tests::{identity, server_config};
use crate::{ChannelNo, Pin, Seq, Token, Uid};
use crate::{Client, ConnectionString, Content, Draft, Error, Options, SignedOut, State, Update};

const CHANNEL: u64 = 4;

struct Server {
    listener: TcpListener,
    tls: TlsAcceptor,
    address: ConnectionString,
}

impl Server {
    async fn start() -> Self {
        let identity = identity(&["127.0.0.1"]);
        let pin = identity.ca_pin;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let mut address = ConnectionString::new("127.0.0.1", port).expect("an address");
        address.pin = Some(pin);
        address.token = Some(Token::new("who").expect("a token"));
        Self { listener, tls: TlsAcceptor::from(server_config(identity)), address }
    }

    /// The next connection, after its login.
    async fn accept(&self) -> Peer {
        let (tcp, _) = self.listener.accept().await.expect("a connection");
        let stream = self.tls.accept(tcp).await.expect("a handshake");
        let mut peer = Peer { stream, input: Vec::new(), resume: Vec::new(), head: 0 };
        while peer.resume.last().is_none_or(|resume| !resume.last) {
            match peer.next().await.expect("a login").kind {
                Some(Kind::Hello(hello)) => assert_eq!(hello.token, "who"),
                Some(Kind::Resume(resume)) => peer.resume.push(resume),
                other => panic!("{other:?}"),
            }
        }
        let welcome = wire::Welcome { user: 7, uid: "me".into(), epoch: 1, ..Default::default() };
        peer.say(Said::Welcome(welcome), 0).await;
        peer
    }
}

struct Peer {
    stream: TlsStream<TcpStream>,
    input: Vec<u8>,
    resume: Vec<wire::Resume>,
    head: u64,
}

impl Peer {
    async fn say(&mut self, kind: Said, id: u64) {
        let frame = wire::ServerFrame { kind: Some(kind), id, more: false };
        let bytes = frame.encode_length_delimited_to_vec();
        self.stream.write_all(&bytes).await.expect("the client reads");
        self.stream.flush().await.expect("the client reads");
    }

    /// `None`: the client is gone.
    async fn next(&mut self) -> Option<wire::ClientFrame> {
        loop {
            let mut rest = &self.input[..];
            if let Ok(frame) = wire::ClientFrame::decode_length_delimited(&mut rest) {
                self.input.drain(..self.input.len() - rest.len());
                return Some(frame);
            }
            let read = self.stream.read_buf(&mut self.input).await;
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn event(&mut self, text: &str) {
        self.head += 1;
        let event = wire::Event {
            channel: CHANNEL,
            seq: self.head,
            id: self.head,
            content: Some(wire::event::Content::Text(text.into())),
            ..Default::default()
        };
        self.say(Said::Event(event), 0).await;
    }

    async fn resumed(&mut self, from: u64) {
        let info = wire::ChannelInfo { channel: CHANNEL, from, ..Default::default() };
        let state = wire::standing::State::New.into();
        let standing =
            wire::Standing { channel: CHANNEL, state, info: Some(info), ..Default::default() };
        self.say(Said::Standing(standing), 0).await;
        self.say(Said::Resumed(wire::Resumed { channels: 1 }), 0).await;
    }
}

async fn texts(client: &Client, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        assert!(client.ready().await, "nothing more will come");
        for update in client.take(10) {
            match update {
                Update::Event(crate::Event { content: Content::Text(text), .. }) => {
                    texts.push(text);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    texts
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

#[test]
fn a_send_survives_a_server_that_dies_before_it_answers() {
    block_on(async {
        let server = Server::start().await;
        let client = Client::connect(server.address.clone()).expect("a client");
        let mut handle =
            client.send(ChannelNo::new(CHANNEL), Draft::text("once")).expect("room in the outbox");
        let mut peer = server.accept().await;
        let first = peer.next().await.expect("the send");
        drop(peer);
        let mut peer = server.accept().await;
        let pending = &peer.resume.last().expect("a resume").pending;
        assert_eq!(pending[0].key, first.key, "the same key, in question");
        let channel = CHANNEL;
        let outcome = wire::Outcome { channel, key: first.key, seq: 3, id: 9, expired: false };
        peer.say(Said::Outcomes(wire::Outcomes { outcomes: vec![outcome] }), 0).await;
        let stored = handle.stored().await.expect("an outcome");
        assert_eq!((stored.seq, stored.duplicate), (Seq::new(3), true));
        assert_eq!(handle.stored().await, Ok(stored), "every wait has the same outcome");
    });
}

#[test]
fn events_are_taken_in_batches_and_a_dropped_wait_loses_none() {
    block_on(async {
        let server = Server::start().await;
        let client = Client::connect(server.address.clone()).expect("a client");
        let mut peer = server.accept().await;
        peer.resumed(1).await;
        let waiting = Box::pin(client.ready());
        drop(waiting);
        for text in ["one", "two", "three"] {
            peer.event(text).await;
        }
        assert_eq!(texts(&client, 3).await, ["one", "two", "three"]);
        assert_eq!(client.person().map(|(_, uid)| uid), Some("me".into()));
        client.close();
        assert!(!client.ready().await, "a closed client ends the wait");
        assert!(peer.next().await.is_none_or(|frame| frame.kind.is_none()));
        let refused = client.send(ChannelNo::new(CHANNEL), Draft::text("late"));
        assert_eq!(refused.map(|handle| handle.channel()), Err(Error::Closed));
    });
}

#[test]
fn a_snapshot_goes_on_in_another_process() {
    block_on(async {
        let server = Server::start().await;
        let client = Client::connect(server.address.clone()).expect("a client");
        let mut peer = server.accept().await;
        peer.resumed(1).await;
        peer.event("one").await;
        peer.event("two").await;
        assert_eq!(texts(&client, 2).await, ["one", "two"]);
        let handle = client.send(ChannelNo::new(CHANNEL), Draft::text("x")).expect("room");
        let snapshot = client.snapshot();
        drop(client);

        let options = Options { snapshot, ..Options::default() };
        let client = Client::connect_with(server.address.clone(), options).expect("a client");
        let mut unsent = client.unsent();
        assert_eq!(unsent.iter().map(|it| it.key()).collect::<Vec<_>>(), [handle.key()]);
        let mut peer = server.accept().await;
        let resume = peer.resume.remove(0);
        assert_eq!((resume.channel_delta, resume.seq), (vec![CHANNEL], vec![2]));
        peer.say(Said::Resumed(wire::Resumed::default()), 0).await;
        let again = peer.next().await.expect("the send again");
        peer.say(Said::Ack(wire::Ack { seq: 3, id: 3, ..Default::default() }), again.id).await;
        assert_eq!(unsent[0].stored().await.map(|stored| stored.seq), Ok(Seq::new(3)));
    });
}

#[test]
fn a_refused_request_says_why_and_a_closing_ends_it_all() {
    block_on(async {
        let server = Server::start().await;
        let client = Client::connect(server.address.clone()).expect("a client");
        let nobody = Uid::parse("nobody").expect("a uid");
        let (asked, mut peer) = tokio::join!(client.open_direct(&nobody), async {
            let mut peer = server.accept().await;
            peer.resumed(1).await;
            let frame = peer.next().await.expect("a request");
            assert!(!frame.key.is_empty(), "a change has a key");
            let refusal = wire::Refusal { code: 404_000, text: "no".into(), ..Default::default() };
            peer.say(Said::Refusal(refusal), frame.id).await;
            peer
        });
        assert!(matches!(&asked, Err(Error::Refused { code: 404_000, .. })), "{asked:?}");

        let mut handle = client.send(ChannelNo::new(CHANNEL), Draft::text("x")).expect("room");
        let code = damso_proto::code::CloseCode::TokenExpired.number();
        peer.say(Said::Closing(wire::Closing { code, ..Default::default() }), 0).await;
        let mut state = client.state();
        let end = state.wait_for(State::is_over).await.expect("a state").clone();
        assert!(matches!(end, State::SignedOut(SignedOut::Closed { .. })), "{end:?}");
        assert_eq!(handle.stored().await, Err(Error::Closed), "nobody waits for ever");
    });
}

#[test]
fn a_wrong_pin_is_told_and_tried_again_without_a_login() {
    block_on(async {
        let server = Server::start().await;
        let address = ConnectionString { pin: Some(Pin([0; 32])), ..server.address.clone() };
        let client = Client::connect(address).expect("a client");
        let (tcp, _) = server.listener.accept().await.expect("a connection");
        assert!(server.tls.accept(tcp).await.is_err(), "the client ends the handshake");
        let mut state = client.state();
        let backoff = state.wait_for(|state| matches!(state, State::Backoff { .. })).await;
        let backoff = backoff.expect("a state").clone();
        let State::Backoff { why, .. } = &backoff else { panic!("{backoff:?}") };
        assert!(why.contains("pinned key"), "{why}");
        drop(Arc::new(client));
    });
}
