//! The loop: take a send, encrypt it for each member, write.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use damso_proto::wire::client_frame::Kind as Asked;
use damso_proto::wire::server_frame::Kind as Said;
use damso_proto::wire::{self, ClientFrame};
use foldhash::fast::FixedState;
use rustix::net::{SocketFlags, accept_with};
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use slab::Slab;

use super::{Certificate, talk};
use crate::engine::pipe::{Pipe, PipeError, Received, Scratch};
use crate::engine::poll::{Poll, Wait};

/// The listener's token; connections have their slot.
const LISTENER: u64 = u64::MAX - 1;
/// Connections accepted in one turn, since a handshake holds everyone else up.
const ACCEPTS_PER_TURN: usize = 8;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 4_096;

/// Why the bare server cannot run.
#[derive(thiserror::Error, Debug)]
pub enum BareError {
    /// The system refuses.
    #[error("{0}")]
    System(#[from] io::Error),
    /// No certificate.
    #[error("certificate: {0}")]
    Certificate(String),
    /// rustls refuses its configuration.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

struct Conn {
    pipe: Pipe<UnbufferedServerConnection>,
    /// The beginning of a frame.
    left: Vec<u8>,
    user: u64,
}

#[derive(Default, Debug)]
struct Channel {
    head: u64,
    /// Slots of those who are in it.
    members: Vec<usize>,
}

/// The whole server.
pub struct Server {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    poll: Poll,
    conns: Slab<Conn>,
    /// uid to slot.
    people: HashMap<String, usize, FixedState>,
    channels: Vec<Channel>,
    messages: u64,
    scratch: Scratch,
    plain: Vec<u8>,
    /// Answers to the connection whose frames are being read.
    answers: Vec<u8>,
    spoil: Option<Spoil>,
    deliveries: u64,
}

/// A wrong done on purpose to one delivery, so that the harness can be seen to find it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spoil {
    /// What is done.
    pub wrong: Wrong,
    /// To which delivery, counted from 1; those to the sender itself are not counted.
    pub at: u64,
}

/// What can be done to a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// It does not arrive.
    Lose,
    /// It arrives twice.
    Repeat,
    /// A byte of its payload is another one.
    Damage,
}

impl std::str::FromStr for Spoil {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` should look like `lose@1000`, or repeat, or damage");
        let (what, at) = text.split_once('@').ok_or_else(wrong)?;
        let at = at.parse().map_err(|_| wrong())?;
        let wrong = match what {
            "lose" => Wrong::Lose,
            "repeat" => Wrong::Repeat,
            "damage" => Wrong::Damage,
            _ => return Err(wrong()),
        };
        Ok(Self { wrong, at })
    }
}

impl Server {
    /// Binds `address`.
    ///
    /// # Errors
    /// [`BareError`]: the address is taken, or the certificate is no good.
    pub fn bind(address: SocketAddr, certificate: &Certificate) -> Result<Self, BareError> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::STREAM,
            None,
        )?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        let poll = Poll::new()?;
        poll.watch_level(&socket, LISTENER)?;
        Ok(Self {
            listener: socket.into(),
            tls: certificate.config()?,
            poll,
            conns: Slab::new(),
            people: HashMap::default(),
            channels: Vec::new(),
            messages: 0,
            scratch: Scratch::default(),
            plain: Vec::new(),
            answers: Vec::new(),
            spoil: None,
            deliveries: 0,
        })
    }

    /// Does one wrong on purpose.
    pub fn spoil(&mut self, spoil: Spoil) {
        self.spoil = Some(spoil);
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until the system fails.
    ///
    /// # Errors
    /// Waiting for sockets failed.
    pub fn run(&mut self) -> io::Result<()> {
        let mut ready = Vec::new();
        loop {
            self.poll.wait(Wait::Forever, &mut ready)?;
            for &token in &ready {
                if token == LISTENER {
                    self.accept();
                } else if let Ok(slot) = usize::try_from(token)
                    && self.conns.contains(slot)
                    && self.serve(slot).is_err()
                {
                    self.conns.remove(slot);
                    for channel in &mut self.channels {
                        channel.members.retain(|member| *member != slot);
                    }
                }
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTS_PER_TURN {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            // No more waiting, or no descriptor: the listener stays ready and is asked again.
            let Ok(socket) = accept_with(&self.listener, flags) else { return };
            if self.enter(socket).is_err() {
                return;
            }
        }
    }

    fn enter(&mut self, socket: OwnedFd) -> Result<(), PipeError> {
        rustix::net::sockopt::set_tcp_nodelay(&socket, true)?;
        let tls = UnbufferedServerConnection::new(self.tls.clone())?;
        let entry = self.conns.vacant_entry();
        let slot = entry.key();
        self.poll.watch(&socket, slot as u64)?;
        entry.insert(Conn {
            pipe: Pipe::new(socket, tls),
            left: Vec::new(),
            user: slot as u64 + 1,
        });
        Ok(())
    }

    fn serve(&mut self, slot: usize) -> Result<(), PipeError> {
        let conn = &mut self.conns[slot];
        conn.pipe.flush()?;
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        plain.append(&mut conn.left);
        let received = conn.pipe.receive(&mut self.scratch, &mut plain)?;
        let mut input = plain.as_slice();
        while let Some(frame) =
            talk::take(&mut input).map_err(|_| PipeError::State("no frame of ours"))?
        {
            self.answer(slot, frame)?;
        }
        let conn = &mut self.conns[slot];
        if !input.is_empty() {
            conn.left = input.to_vec();
        }
        if !self.answers.is_empty() {
            conn.pipe.send(&mut self.scratch, &self.answers)?;
            self.answers.clear();
        }
        self.plain = plain;
        if received == Received::End { Err(PipeError::State("closed")) } else { Ok(()) }
    }

    fn answer(&mut self, slot: usize, frame: ClientFrame) -> Result<(), PipeError> {
        let user = self.conns[slot].user;
        let id = frame.id;
        let answer = match frame.kind {
            Some(Asked::Hello(hello)) => {
                let welcome = talk::welcome(user, &hello.token);
                self.people.insert(hello.token, slot);
                welcome
            }
            Some(Asked::Resume(resume)) if resume.last => {
                talk::frame(0, Said::Resumed(wire::Resumed { channels: 0 }))
            }
            Some(Asked::Resume(_) | Asked::Pong(_) | Asked::Cancel(_)) => return Ok(()),
            Some(Asked::Ping(ping)) => {
                talk::frame(0, Said::Pong(wire::Pong { id: ping.id, time_ms: 0 }))
            }
            Some(Asked::CreateGroup(create)) => {
                let invited = create.uids.iter().filter_map(|uid| self.people.get(uid).copied());
                let members = std::iter::once(slot).chain(invited).collect();
                self.channels.push(Channel { head: 0, members });
                // Channel numbers are even; odd ones are people's own logs.
                let info = wire::ChannelInfo {
                    channel: 2 * self.channels.len() as u64,
                    kind: wire::ChannelKind::Group.into(),
                    name: create.name,
                    ..Default::default()
                };
                talk::frame(id, Said::Channel(info))
            }
            Some(Asked::AddMember(add)) => match (self.channel(add.channel), &add.uid) {
                (Some(at), uid) if self.people.contains_key(uid) => {
                    let member = self.people[uid];
                    self.channels[at].members.push(member);
                    talk::frame(id, Said::Done(wire::Done { seq: 0 }))
                }
                _ => talk::refusal(id, None),
            },
            Some(Asked::Send(send)) => match self.channel(send.channel) {
                Some(at) => return self.fan_out(slot, id, at, send),
                None => talk::refusal(id, None),
            },
            other => talk::refusal(id, other.as_ref()),
        };
        self.answers.extend_from_slice(&answer);
        Ok(())
    }

    fn channel(&self, number: u64) -> Option<usize> {
        let at = usize::try_from(number / 2).ok()?.checked_sub(1)?;
        (at < self.channels.len()).then_some(at)
    }

    /// The measured part: one record and one write per member. The sender's own event rides with
    /// its acknowledgement.
    fn fan_out(
        &mut self,
        slot: usize,
        request: u64,
        at: usize,
        send: wire::Send,
    ) -> Result<(), PipeError> {
        let channel = &mut self.channels[at];
        channel.head += 1;
        self.messages += 1;
        let (seq, id) = (channel.head, self.messages << 12);
        let ack = wire::Ack { seq, id, ..Default::default() };
        let number = send.channel;
        let event = talk::event(send, number, seq, id, self.conns[slot].user);
        for &member in &channel.members {
            if member == slot {
                self.answers.extend_from_slice(&event);
                continue;
            }
            let Some(conn) = self.conns.get_mut(member) else { continue };
            self.deliveries += 1;
            // A member whose pipe broke is found by its own next event.
            let _ = match self.spoil {
                Some(Spoil { wrong, at }) if at == self.deliveries => spoilt(wrong, &event)
                    .iter()
                    .try_for_each(|event| conn.pipe.send(&mut self.scratch, event)),
                _ => conn.pipe.send(&mut self.scratch, &event),
            };
        }
        self.answers.extend_from_slice(&talk::frame(request, Said::Ack(ack)));
        Ok(())
    }
}

/// What arrives in place of `event`.
fn spoilt(wrong: Wrong, event: &[u8]) -> Vec<Vec<u8>> {
    let mut event = event.to_vec();
    match wrong {
        Wrong::Lose => Vec::new(),
        Wrong::Repeat => vec![event.clone(), event],
        Wrong::Damage => {
            // The content comes last, so its last byte is the payload's.
            if let Some(last) = event.last_mut() {
                *last ^= 1;
            }
            vec![event]
        }
    }
}
