//! The bare loop: epoll, rustls, send. No runtime, no channels, no lanes; what a delivery must cost.
//!
//! A message is encrypted for each receiver and written at once, one after the other; between two
//! messages the loop asks epoll whether anybody spoke. It is the measure of all ratios, so it does
//! nothing that could be left out, and nothing else in this repository is used for it.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::epoll;
use rustix::net::SendFlags;
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::ConnectionState;

use super::drain::Drained;
use super::measure::{Sent, cpu};
use super::{GROUP, Outcome, Plan, Shape, frames};

/// Sockets with their TLS state, and an epoll that watches them.
pub(super) struct Bare {
    connections: Vec<Connection>,
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
    out: Vec<u8>,
    frames: frames::Frames,
}

struct Connection {
    socket: TcpStream,
    tls: Box<UnbufferedServerConnection>,
}

impl Bare {
    /// Takes in as many connections as the plan has.
    pub(super) fn accept(
        plan: &Plan,
        listener: &TcpListener,
        tls: &Arc<ServerConfig>,
    ) -> Outcome<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut connections = Vec::with_capacity(plan.connections);
        for index in 0..plan.connections {
            let connection = shake_hands(listener.accept()?.0, tls)?;
            let data = epoll::EventData::new_u64(index as u64);
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&epoll, &connection.socket, data, flags)?;
            connections.push(connection);
        }
        let events = Vec::with_capacity(1_024);
        let out = vec![0; 32 * 1024];
        Ok(Self { connections, epoll, events, out, frames: frames::Frames::new() })
    }

    /// Sends as fast as it can until `until`. Under backlog it does what it always does.
    pub(super) fn run(
        &mut self,
        shape: Shape,
        until: Instant,
        drained: &mut Drained,
    ) -> Outcome<Sent> {
        let mut sent = Sent::default();
        let groups = self.connections.len() / GROUP;
        while Instant::now() < until {
            let before = sent.bytes;
            match shape {
                Shape::Broadcast => {
                    let start = cpu();
                    self.message(0, 1, &mut sent)?;
                    sent.cpu += cpu() - start;
                }
                Shape::Groups | Shape::Backlog => {
                    for _ in 0..frames::BURST {
                        let group = self.frames.random(groups);
                        let start = cpu();
                        self.message(group, groups, &mut sent)?;
                        sent.cpu += cpu() - start;
                    }
                }
            }
            drained.wait(sent.bytes - before)?;
        }
        Ok(sent)
    }

    /// One message to every `step`-th connection from `first` on.
    fn message(&mut self, first: usize, step: usize, sent: &mut Sent) -> Outcome<()> {
        let frame = self.frames.next();
        self.events.clear();
        let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
        let events = rustix::buffer::spare_capacity(&mut self.events);
        epoll::wait(&self.epoll, events, Some(&now))?;
        for connection in self.connections.iter_mut().skip(first).step_by(step) {
            let ConnectionState::WriteTraffic(mut traffic) =
                connection.tls.process_tls_records(&mut []).state?
            else {
                return Err("a connection that cannot be written".into());
            };
            let length = traffic.encrypt(&frame, &mut self.out)?;
            let bytes = &self.out[..length];
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            if rustix::net::send(&connection.socket, bytes, flags)? != length {
                return Err("a socket is full: the client is too slow".into());
            }
            sent.deliveries += 1;
            sent.writes += 1;
            sent.bytes += length as u64;
        }
        Ok(())
    }
}

fn shake_hands(mut socket: TcpStream, config: &Arc<ServerConfig>) -> Outcome<Connection> {
    super::tune(&socket)?;
    let mut tls = Box::new(UnbufferedServerConnection::new(config.clone())?);
    let (mut input, mut filled) = (vec![0; 16 * 1024], 0);
    let mut flight = Vec::new();
    loop {
        let status = tls.process_tls_records(&mut input[..filled]);
        let discard = status.discard;
        let mut blocked = false;
        match status.state? {
            ConnectionState::EncodeTlsData(mut data) => {
                let at = flight.len();
                flight.resize(at + 16 * 1024, 0);
                let length = data.encode(&mut flight[at..])?;
                flight.truncate(at + length);
            }
            ConnectionState::TransmitTlsData(data) => {
                socket.write_all(&flight)?;
                flight.clear();
                data.done();
            }
            ConnectionState::BlockedHandshake => blocked = true,
            ConnectionState::WriteTraffic(_) => break,
            state => return Err(format!("{state:?} in a handshake").into()),
        }
        input.copy_within(discard..filled, 0);
        filled -= discard;
        if blocked {
            filled += socket.read(&mut input[filled..])?;
        }
    }
    socket.set_nonblocking(true)?;
    Ok(Connection { socket, tls })
}
