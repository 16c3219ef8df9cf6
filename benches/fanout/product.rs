//! The server's own code: `Connections` on a tokio runtime, a reading task per connection.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use damso::connections::{
    Appended, Connections, Interest, Options, Received, Scratch, Start, TokioSocket, Turn, Wire,
};
use damso::runtime::route::{ConnectionId, ShardNo};
use damso_proto::id::{ChannelNo, Seq};
use damso_proto::time::Moment;
use rustls::ServerConfig;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use super::drain::Drained;
use super::measure::{Sent, cpu};
use super::{GROUP, Outcome, Plan, Shape, frames};

/// What TLS adds to a record with AES-GCM, bytes: header, content type, tag.
const RECORD_EXTRA_BYTES: u64 = 5 + 1 + 16;
/// Bytes per connection between two looks at the client, under backlog.
const UNSEEN_BYTES: u64 = 2_048;
/// The channel of everybody; the groups follow.
const EVERYBODY: usize = 0;

/// A shard's connections, and the runtime that they live on.
pub(super) struct Product {
    runtime: Runtime,
    tasks: LocalSet,
    room: Room,
}

/// What a shard would hold.
struct Room {
    connections: Rc<RefCell<Connections>>,
    /// The last seq of each channel.
    heads: Vec<u64>,
    frames: frames::Frames,
    origin: Instant,
    /// Deliveries appended and not yet made.
    unsent: u64,
    backlog: u64,
}

impl Product {
    /// Takes in as many connections as the plan has.
    pub(super) fn accept(
        plan: &Plan,
        listener: TcpListener,
        tls: &Arc<ServerConfig>,
    ) -> Outcome<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let tasks = LocalSet::new();
        let connections = Connections::new(Options::default(), ShardNo::new(0));
        let connections = Rc::new(RefCell::new(connections));
        let groups = plan.connections / GROUP;
        tasks.block_on(&runtime, async {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            let mut scratch = Scratch::default();
            for index in 0..plan.connections {
                let (stream, _) = listener.accept().await?;
                let wire = shake_hands(stream, tls, &mut scratch).await?;
                let mut room = connections.borrow_mut();
                let id = room.enter(wire, Moment::default());
                for channel in [EVERYBODY, 1 + index % groups] {
                    room.join(number(channel), id, Start::At(Seq::new(1)));
                }
                tokio::task::spawn_local(read(connections.clone(), id));
            }
            Outcome::Ok(())
        })?;
        let room = Room {
            connections,
            heads: vec![0; 1 + groups],
            frames: frames::Frames::new(),
            origin: Instant::now(),
            unsent: 0,
            backlog: plan.backlog as u64 * GROUP as u64,
        };
        Ok(Self { runtime, tasks, room })
    }

    /// Sends as fast as it can until `until`.
    pub(super) fn run(
        &mut self,
        shape: Shape,
        until: Instant,
        drained: &mut Drained,
    ) -> Outcome<Sent> {
        let Self { runtime, tasks, room } = self;
        tasks.block_on(runtime, room.run(shape, until, drained))
    }
}

impl Room {
    async fn run(&mut self, shape: Shape, until: Instant, drained: &mut Drained) -> Outcome<Sent> {
        let mut sent = Sent::default();
        while Instant::now() < until {
            let before = sent.bytes;
            match shape {
                Shape::Broadcast => self.message(EVERYBODY, &mut sent).await?,
                Shape::Groups => {
                    for _ in 0..frames::BURST {
                        let group = 1 + self.frames.random(self.heads.len() - 1);
                        self.message(group, &mut sent).await?;
                    }
                }
                Shape::Backlog => self.turns(&mut sent).await?,
            }
            drained.wait(sent.bytes - before)?;
        }
        // What is still unsent belongs to no window.
        let mut rest = Sent::default();
        while self.turn(&mut rest)?.more {
            tokio::task::yield_now().await;
            if rest.bytes > UNSEEN_BYTES * self.connections.borrow().count() as u64 {
                drained.wait(std::mem::take(&mut rest.bytes))?;
            }
        }
        drained.wait(rest.bytes)?;
        Ok(sent)
    }

    /// One message, until all of its members have it.
    async fn message(&mut self, channel: usize, sent: &mut Sent) -> Outcome<()> {
        let start = cpu();
        self.append(channel);
        while self.turn(sent)?.more {
            tokio::task::yield_now().await;
        }
        tokio::task::yield_now().await;
        sent.cpu += cpu() - start;
        Ok(())
    }

    /// Turns, with new messages for those that are through.
    async fn turns(&mut self, sent: &mut Sent) -> Outcome<()> {
        let unseen = UNSEEN_BYTES * self.connections.borrow().count() as u64;
        let enough = sent.bytes + unseen;
        let start = cpu();
        while sent.bytes < enough {
            while self.unsent < self.backlog {
                let group = 1 + self.frames.random(self.heads.len() - 1);
                self.append(group);
            }
            self.turn(sent)?;
            tokio::task::yield_now().await;
        }
        sent.cpu += cpu() - start;
        Ok(())
    }

    fn append(&mut self, channel: usize) {
        self.heads[channel] += 1;
        let (seq, frame) = (Seq::new(self.heads[channel]), self.frames.next());
        let mut connections = self.connections.borrow_mut();
        let appended = connections.append(number(channel), seq, &frame, self.now());
        assert_eq!(appended, Appended::Yes, "an event of a known channel");
        let members = if channel == EVERYBODY { connections.count() } else { GROUP };
        self.unsent += members as u64;
    }

    fn turn(&mut self, sent: &mut Sent) -> Outcome<Turn> {
        let mut connections = self.connections.borrow_mut();
        let turn = connections.turn(self.now());
        if turn.blocked + turn.fallen > 0 || !connections.take_notices().is_empty() {
            return Err("a socket is full: the client is too slow".into());
        }
        self.unsent -= turn.deliveries;
        sent.deliveries += turn.deliveries;
        sent.writes += u64::from(turn.sends);
        sent.bytes += turn.bytes + u64::from(turn.sends) * RECORD_EXTRA_BYTES;
        Ok(turn)
    }

    fn now(&self) -> Moment {
        Moment::default().plus(self.origin.elapsed())
    }
}

fn number(channel: usize) -> ChannelNo {
    ChannelNo::new(2 + 2 * channel as u64)
}

async fn shake_hands(
    stream: tokio::net::TcpStream,
    tls: &Arc<ServerConfig>,
    scratch: &mut Scratch,
) -> Outcome<Wire> {
    super::tune(&stream)?;
    let mut wire = Wire::accept(Box::new(TokioSocket::new(stream, ())?), tls.clone())?;
    while !wire.handshaken() {
        poll_fn(|cx| wire.poll_ready(cx, Interest::Read)).await?;
        if wire.receive(scratch, &mut Vec::new())? == Received::End {
            return Err("a client went away in its handshake".into());
        }
    }
    Ok(wire)
}

/// The reading task of a connection, as the server has it.
async fn read(connections: Rc<RefCell<Connections>>, id: ConnectionId) {
    let mut plain = Vec::new();
    while let Some(ready) = poll_fn(|cx| connections.borrow().poll_ready(id, true, cx)).await {
        let mut connections = connections.borrow_mut();
        if ready.writable {
            connections.writable(id, Moment::default());
        }
        if ready.readable {
            match connections.receive(id, &mut plain) {
                Ok(Received::Some | Received::Blocked) => plain.clear(),
                Ok(Received::End) | Err(_) => drop(connections.remove(id)),
            }
        }
    }
}
