//! One TLS connection over a non-blocking socket, as small as rustls allows.
//!
//! rustls' unbuffered machine keeps no buffers, so a pipe at rest holds none either: ciphertext
//! that is no whole record yet, and ciphertext that the socket did not take, are all that is kept.
//! One [`Scratch`] serves every connection of the thread.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{self, RecvFlags, SendFlags};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};

/// Read at once; at least one whole record.
const READ_BYTES: usize = 64 * 1024;
/// What a record adds to its content: header, tag, content type.
const RECORD_OVERHEAD: usize = 5 + 16 + 1;
/// Content that fits in one record.
const RECORD_CONTENT: usize = 16 * 1024;
/// Ciphertext kept for a socket that takes nothing. More than this, and the pipe is given up.
const UNSENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The client's or the server's end of rustls.
pub trait Side {
    /// Its private data.
    type Data;
    /// Takes in ciphertext and says what to do.
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }
}

/// Buffers that all connections of a thread share.
#[derive(Debug)]
pub struct Scratch {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { input: vec![0; READ_BYTES], output: Vec::new() }
    }
}

/// What reading came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// The socket is empty for now.
    Blocked,
    /// The other end closed.
    End,
}

/// Why a pipe is of no more use.
#[derive(thiserror::Error, Debug)]
pub enum PipeError {
    /// The socket failed.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
    /// TLS failed.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// rustls reported something that this version of it should not.
    #[error("TLS: {0}")]
    State(&'static str),
    /// The socket took nothing for too many bytes.
    #[error("the other end does not read")]
    Clogged,
}

impl From<rustix::io::Errno> for PipeError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Socket(errno.into())
    }
}

/// A socket with its TLS state.
pub struct Pipe<S> {
    socket: OwnedFd,
    tls: S,
    /// The beginning of a record.
    leftover: Vec<u8>,
    /// Ciphertext that the socket did not take yet.
    unsent: Vec<u8>,
    handshaken: bool,
    /// Ciphertext received and sent so far, bytes.
    pub bytes_in: u64,
    /// See `bytes_in`.
    pub bytes_out: u64,
}

/// Opens a socket that connects to `to` without waiting; when it is writable, it is there.
///
/// # Errors
/// No descriptor or port is left, or the target refuses at once.
pub fn connect(to: SocketAddr) -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    net::sockopt::set_tcp_nodelay(&socket, true)?;
    match net::connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

impl<S> AsFd for Pipe<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<S: Side> Pipe<S> {
    /// Puts TLS on a connected, or connecting, non-blocking socket.
    pub fn new(socket: OwnedFd, tls: S) -> Self {
        Self {
            socket,
            tls,
            leftover: Vec::new(),
            unsent: Vec::new(),
            handshaken: false,
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// Application data can be sent.
    pub fn handshaken(&self) -> bool {
        self.handshaken
    }

    /// Ciphertext that waits for the socket, bytes.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent.len()
    }

    /// The machine under the pipe.
    pub fn tls(&self) -> &S {
        &self.tls
    }

    /// Begins the handshake (a client's first flight).
    ///
    /// # Errors
    /// [`PipeError`]: drop the pipe.
    pub fn start(&mut self, plain: &mut Vec<u8>) -> Result<(), PipeError> {
        self.process(&mut [], plain)?;
        Ok(())
    }

    /// Reads until the socket is empty; what was said is appended to `plain`.
    ///
    /// # Errors
    /// [`PipeError`]: drop the pipe.
    pub fn receive(
        &mut self,
        scratch: &mut Scratch,
        plain: &mut Vec<u8>,
    ) -> Result<Received, PipeError> {
        loop {
            let kept = self.leftover.len();
            let buffer = &mut scratch.input;
            if buffer.len() < kept + READ_BYTES / 2 {
                buffer.resize(kept + READ_BYTES, 0);
            }
            buffer[..kept].copy_from_slice(&self.leftover);
            let room = buffer.len() - kept;
            let read = match net::recv(&self.socket, &mut buffer[kept..], RecvFlags::empty()) {
                Ok((_, 0)) => return Ok(Received::End),
                Ok((_, read)) => read,
                Err(rustix::io::Errno::AGAIN) => return Ok(Received::Blocked),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            self.bytes_in += read as u64;
            let filled = kept + read;
            let (used, ended) = self.process(&mut buffer[..filled], plain)?;
            if used == filled {
                self.leftover = Vec::new();
            } else {
                self.leftover.clear();
                self.leftover.extend_from_slice(&buffer[used..filled]);
            }
            if ended {
                return Ok(Received::End);
            }
            // Edge-triggered: more bytes make a new edge, so a short read ends the turn.
            if read < room {
                return Ok(Received::Blocked);
            }
        }
    }

    /// Feeds ciphertext to rustls. Returns how much it used and whether the other end closed.
    fn process(
        &mut self,
        cipher: &mut [u8],
        plain: &mut Vec<u8>,
    ) -> Result<(usize, bool), PipeError> {
        let mut used = 0;
        let mut ended = false;
        loop {
            let UnbufferedStatus { mut discard, state, .. } = self.tls.process(&mut cipher[used..]);
            let mut more = true;
            match state? {
                ConnectionState::ReadTraffic(mut records) => {
                    while let Some(record) = records.next_record() {
                        let record = record?;
                        plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    let at = self.unsent.len();
                    let needed = match data.encode(&mut []) {
                        Err(EncodeError::InsufficientSize(size)) => size.required_size,
                        Ok(_) | Err(_) => return Err(PipeError::State("nothing to encode")),
                    };
                    self.unsent.resize(at + needed, 0);
                    let written = data
                        .encode(&mut self.unsent[at..])
                        .map_err(|_| PipeError::State("a handshake message that does not fit"))?;
                    self.unsent.truncate(at + written);
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(_) => {
                    self.handshaken = true;
                    more = false;
                }
                ConnectionState::BlockedHandshake => more = false,
                ConnectionState::PeerClosed | ConnectionState::Closed => {
                    ended = true;
                    more = false;
                }
                _ => return Err(PipeError::State("early data")),
            }
            used += discard;
            if !more {
                break;
            }
        }
        self.flush()?;
        Ok((used, ended))
    }

    /// Encrypts and writes; what the socket does not take now is kept for [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`PipeError`]: drop the pipe.
    pub fn send(&mut self, scratch: &mut Scratch, plain: &[u8]) -> Result<(), PipeError> {
        let records = plain.len() / RECORD_CONTENT + 1;
        let room = plain.len() + records * RECORD_OVERHEAD;
        if scratch.output.len() < room {
            scratch.output.resize(room, 0);
        }
        let written = loop {
            match self.tls.process(&mut []).state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    break traffic
                        .encrypt(plain, &mut scratch.output)
                        .map_err(|_| PipeError::State("a record that does not fit"))?;
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    // A key update or ticket that came due; it goes first.
                    let at = self.unsent.len();
                    self.unsent.resize(at + RECORD_CONTENT + RECORD_OVERHEAD, 0);
                    let encoded = data
                        .encode(&mut self.unsent[at..])
                        .map_err(|_| PipeError::State("a message that does not fit"))?;
                    self.unsent.truncate(at + encoded);
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                _ => return Err(PipeError::State("sending before the handshake's end")),
            }
        };
        let record = &scratch.output[..written];
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(record);
            return self.flush();
        }
        let taken = match net::send(&self.socket, record, SendFlags::NOSIGNAL) {
            Ok(taken) => taken,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        self.bytes_out += taken as u64;
        self.unsent.extend_from_slice(&record[taken..]);
        Ok(())
    }

    /// Writes what waits, as far as the socket takes it.
    ///
    /// # Errors
    /// [`PipeError`]: drop the pipe.
    pub fn flush(&mut self) -> Result<(), PipeError> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let mut at = 0;
        while at < self.unsent.len() {
            match net::send(&self.socket, &self.unsent[at..], SendFlags::NOSIGNAL) {
                Ok(taken) => at += taken,
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::NOTCONN) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.bytes_out += at as u64;
        if at == self.unsent.len() {
            self.unsent = Vec::new();
        } else {
            self.unsent.drain(..at);
        }
        if self.unsent.len() > UNSENT_BYTES_MAX { Err(PipeError::Clogged) } else { Ok(()) }
    }

    /// Makes the close a reset, so that no port stays in TIME_WAIT.
    pub fn abandon(self) {
        // A socket that refuses the option is closed in the ordinary way.
        let _ = net::sockopt::set_socket_linger(&self.socket, Some(std::time::Duration::ZERO));
    }
}
