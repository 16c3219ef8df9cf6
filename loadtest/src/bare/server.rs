//! The loop: take a send, encrypt it for each member, write.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bytes::Bytes;
use damso_proto::wire::client_frame::Kind as Asked;
use damso_proto::wire::server_frame::Kind as Said;
use damso_proto::wire::{self, ClientFrame};
use foldhash::fast::FixedState;
use rustix::net::{SocketFlags, accept_with};
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;

use super::crowd::Crowd;
use super::fault::{Fault, Faults, Receiver};
use super::{Certificate, talk};
use crate::engine::pipe::{Pipe, PipeError, Received};
use crate::engine::poll::{Poll, Wait};

/// The listener's token; connections have their slot.
const LISTENER: u64 = u64::MAX - 1;
/// Connections accepted in one turn, since a handshake holds everyone else up.
const ACCEPTS_PER_TURN: usize = 8;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 4_096;
/// The longest frame that a client may send.
const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Bytes that may wait for the end of a delay, with what it takes to keep them. Then no more
/// messages are read, so one message's deliveries are all that can come on top.
const HELD_BYTES_MAX: usize = 64 * 1024 * 1024;

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

#[derive(Default, Debug)]
struct Channel {
    head: u64,
    /// Slots of those who are in it.
    members: Vec<usize>,
}

/// The whole server.
pub struct Server {
    listener: TcpListener,
    /// `None`: it speaks in the clear.
    tls: Option<Arc<ServerConfig>>,
    poll: Poll,
    ready: Vec<u64>,
    pub(super) crowd: Crowd,
    /// uid to slot.
    people: HashMap<String, usize, FixedState>,
    channels: Vec<Channel>,
    messages: u64,
    plain: Vec<u8>,
    /// Answers to the connection whose frames are being read.
    answers: Vec<u8>,
    faults: Faults,
}

impl Server {
    /// Binds `address`, to speak TLS there.
    ///
    /// # Errors
    /// [`BareError`]: the address is taken, or the certificate is no good.
    pub fn bind(address: SocketAddr, certificate: &Certificate) -> Result<Self, BareError> {
        Self::listen(address, Some(certificate.config()?))
    }

    /// Binds `address`, to speak in the clear there: what it costs then is TLS' price less.
    ///
    /// # Errors
    /// [`BareError`]: the address is taken.
    pub fn bind_plain(address: SocketAddr) -> Result<Self, BareError> {
        Self::listen(address, None)
    }

    fn listen(address: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Result<Self, BareError> {
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
            tls,
            poll,
            ready: Vec::new(),
            crowd: Crowd::default(),
            people: HashMap::default(),
            channels: Vec::new(),
            messages: 0,
            plain: Vec::new(),
            answers: Vec::new(),
            faults: Faults::default(),
        })
    }

    /// Does one more thing wrong on purpose. Of several delays the last counts.
    pub fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::Delivery { wrong, at } => self.faults.wrong(wrong, at),
            Fault::Stall(stall) => self.faults.stall(stall),
            Fault::Delay(delay) => self.crowd.set_delay(delay, HELD_BYTES_MAX),
        }
    }

    /// Serves until the system fails.
    ///
    /// # Errors
    /// Waiting for sockets failed.
    pub fn run(&mut self) -> io::Result<()> {
        loop {
            self.turn(Wait::Forever)?;
        }
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Waits for a socket, but not beyond what is due, and serves what is ready.
    pub(super) fn turn(&mut self, wait: Wait) -> io::Result<()> {
        let due_ns = [self.crowd.next_due_ns(), self.faults.next_stall_ns()];
        let wait = match due_ns.into_iter().flatten().min() {
            // No socket and no moment will wake us for those who are paused.
            _ if self.crowd.may_resume() => Wait::Not,
            Some(due_ns) if wait == Wait::Forever => Wait::Until(due_ns),
            _ => wait,
        };
        let mut ready = std::mem::take(&mut self.ready);
        self.poll.wait(wait, &mut ready)?;
        self.keep_time();
        for slot in self.crowd.take_resumed() {
            // Twice: the end may stand behind a short read, and is not announced again.
            self.serve(slot);
            self.serve(slot);
            self.keep_time();
        }
        for &token in &ready {
            if token == LISTENER {
                self.accept();
            } else if let Ok(slot) = usize::try_from(token) {
                self.serve(slot);
            }
            self.keep_time();
        }
        self.ready = ready;
        Ok(())
    }

    /// Does what is due, which without faults is nothing.
    fn keep_time(&mut self) {
        if let Some(lasts) = self.faults.due_stall() {
            std::thread::sleep(lasts);
        }
        self.crowd.say_due();
        self.drop_broken();
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
        self.poll.watch(&socket, self.crowd.next_slot() as u64)?;
        let pipe = match &self.tls {
            Some(tls) => Pipe::new(socket, UnbufferedServerConnection::new(tls.clone())?),
            None => Pipe::plain(socket),
        };
        self.crowd.enter(pipe);
        Ok(())
    }

    fn serve(&mut self, slot: usize) {
        if self.crowd.conns.contains(slot) {
            if self.try_serve(slot).is_err() {
                self.crowd.mark_broken(slot);
            }
            self.drop_broken();
        }
    }

    fn drop_broken(&mut self) {
        while let Some(slot) = self.crowd.take_broken() {
            self.faults.forget(slot);
            for channel in &mut self.channels {
                channel.members.retain(|member| *member != slot);
            }
        }
    }

    fn try_serve(&mut self, slot: usize) -> Result<(), PipeError> {
        self.crowd.conns[slot].pipe.flush()?;
        if self.crowd.is_full() {
            self.crowd.pause(slot);
            return Ok(());
        }
        let conn = &mut self.crowd.conns[slot];
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        plain.append(&mut conn.left);
        let received = conn.pipe.receive(&mut self.crowd.scratch, &mut plain)?;
        self.answers.clear();
        let rest = self.answer_all(slot, &plain)?;
        if !self.answers.is_empty() {
            self.crowd.answer(slot, &self.answers);
        }
        if !rest.is_empty() {
            self.crowd.conns[slot].left = rest.to_vec();
        }
        let too_long = rest.len() > FRAME_BYTES_MAX;
        self.plain = plain;
        if received == Received::End {
            return Err(PipeError::State("closed"));
        }
        if self.crowd.is_full() {
            self.crowd.pause(slot);
        } else if too_long {
            return Err(PipeError::State("a frame that is too long"));
        }
        Ok(())
    }

    /// Answers whole frames, unless too much waits. Returns what is left.
    fn answer_all<'i>(&mut self, slot: usize, mut input: &'i [u8]) -> Result<&'i [u8], PipeError> {
        while !self.crowd.is_full()
            && let Some(frame) =
                talk::take(&mut input).map_err(|_| PipeError::State("no frame of ours"))?
        {
            self.answer(slot, frame);
        }
        Ok(input)
    }

    fn answer(&mut self, slot: usize, frame: ClientFrame) {
        let user = self.crowd.conns[slot].user;
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
            Some(Asked::Resume(_) | Asked::Pong(_) | Asked::Cancel(_)) => return,
            Some(Asked::Ping(ping)) => {
                talk::frame(0, Said::Pong(wire::Pong { id: ping.id, time_ms: 0 }))
            }
            Some(Asked::CreateChannel(create)) => {
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
            Some(Asked::AddMembers(add)) => match self.channel(add.channel) {
                Some(at) if add.uids.iter().all(|uid| self.people.contains_key(uid)) => {
                    let added = add.uids.iter().map(|uid| self.people[uid]);
                    self.channels[at].members.extend(added);
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
    }

    fn channel(&self, number: u64) -> Option<usize> {
        let at = usize::try_from(number / 2).ok()?.checked_sub(1)?;
        (at < self.channels.len()).then_some(at)
    }

    /// The measured part: one record and one write per member. The sender's own event rides with
    /// its acknowledgement.
    fn fan_out(&mut self, slot: usize, request: u64, at: usize, send: wire::Send) {
        self.faults.taken(send.content.as_ref());
        let channel = &mut self.channels[at];
        channel.head += 1;
        self.messages += 1;
        let (seq, id) = (channel.head, self.messages << 12);
        let ack = wire::Ack { seq, id, ..Default::default() };
        let number = send.channel;
        let event = Bytes::from(talk::event(send, number, seq, id, self.crowd.conns[slot].user));
        for &member in &channel.members {
            let to = Receiver { slot: member, channel: number };
            if member == slot {
                self.answers.extend_from_slice(&event);
                self.faults.follow(to, |event| self.answers.extend_from_slice(event));
            } else {
                self.faults.deliver(to, &event, |event| self.crowd.say(member, event));
            }
        }
        self.answers.extend_from_slice(&talk::frame(request, Said::Ack(ack)));
    }
}
