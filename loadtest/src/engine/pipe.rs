//! One connection over a non-blocking socket, with TLS or plain, as small as either allows.
//!
//! A pipe at rest holds no buffer: the beginning of a TLS record, and bytes that the socket did
//! not take, are all that is ever kept. A plain pipe is a descriptor and a few counters.
//! One [`Scratch`] serves every connection of the thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{self, RecvFlags, SendFlags};

use super::tls::{Side, Stage, Tls};

/// Read at once; at least one whole record.
const READ_BYTES: usize = 64 * 1024;
/// Bytes kept for a socket that takes nothing. More than this, and the pipe is given up.
const UNSENT_BYTES_MAX: usize = 4 * 1024 * 1024;

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
    /// The socket is empty for now: its next bytes make it ready again.
    Blocked,
    /// There may be more, and the socket will not say so again: come back.
    More,
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

impl From<Errno> for PipeError {
    fn from(errno: Errno) -> Self {
        Self::Socket(errno.into())
    }
}

/// What one read of the socket came to.
enum Read {
    Nothing,
    /// Fewer bytes than there was room for.
    Part(usize),
    Full(usize),
    End,
}

/// A socket, with its TLS state if it has one.
pub struct Pipe<S> {
    socket: OwnedFd,
    /// `None`: a plain pipe.
    tls: Option<Box<Tls<S>>>,
    /// Bytes that the socket did not take yet.
    unsent: Vec<u8>,
    handshaken: bool,
    /// Bytes received and sent so far, TLS included.
    pub bytes_in: u64,
    /// See `bytes_in`.
    pub bytes_out: u64,
}

impl<S> AsFd for Pipe<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<S: Side> Pipe<S> {
    /// Puts TLS on a connected, or connecting, non-blocking socket.
    pub fn new(socket: OwnedFd, tls: S) -> Self {
        Self::over(socket, Some(Box::new(Tls::new(tls))))
    }

    /// Takes a connected, or connecting, non-blocking socket as it is, without TLS.
    pub fn plain(socket: OwnedFd) -> Self {
        let mut pipe = Self::over(socket, None);
        pipe.look_whether_connected();
        pipe
    }

    fn over(socket: OwnedFd, tls: Option<Box<Tls<S>>>) -> Self {
        Self { socket, tls, unsent: Vec::new(), handshaken: false, bytes_in: 0, bytes_out: 0 }
    }

    /// Begins the handshake (a client's first flight). A plain pipe has none.
    ///
    /// # Errors
    /// [`PipeError`]: drop the pipe.
    pub fn start(&mut self, plain: &mut Vec<u8>) -> Result<(), PipeError> {
        if let Some(tls) = &mut self.tls {
            tls.process(&mut [], plain, &mut self.unsent)?;
        }
        self.flush()
    }

    /// Begins the handshake and says the first half of the first flight only.
    ///
    /// # Errors
    /// [`PipeError`]: drop the pipe.
    pub fn start_in_part(&mut self, plain: &mut Vec<u8>) -> Result<(), PipeError> {
        if let Some(tls) = &mut self.tls {
            tls.process(&mut [], plain, &mut self.unsent)?;
        }
        self.unsent.truncate(self.unsent.len() / 2);
        self.flush()
    }

    /// Something can be read: bytes, or the end. Reads nothing.
    pub fn has_input(&self) -> bool {
        !matches!(
            net::recv(&self.socket, &mut [0_u8; 1], RecvFlags::PEEK),
            Err(Errno::AGAIN | Errno::INTR | Errno::NOTCONN)
        )
    }

    /// Ends its own direction; what the other end says can still be read.
    pub fn end(&self) {
        // A socket that is gone has ended, too.
        let _ = net::shutdown(&self.socket, net::Shutdown::Write);
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
            match self.read(scratch, plain, usize::MAX)? {
                Read::Full(_) => {}
                // Edge-triggered: more bytes make a new edge, so a short read ends the turn.
                Read::Part(_) | Read::Nothing => return Ok(Received::Blocked),
                Read::End => return Ok(Received::End),
            }
        }
    }

    /// Reads about `bytes` bytes, TLS included, so that a caller can be slow on purpose.
    ///
    /// After [`Received::More`] the caller must come back by itself: epoll told it all it will.
    ///
    /// # Errors
    /// [`PipeError`]: drop the pipe.
    pub fn receive_at_most(
        &mut self,
        scratch: &mut Scratch,
        plain: &mut Vec<u8>,
        bytes: usize,
    ) -> Result<Received, PipeError> {
        let mut left = bytes;
        while left > 0 {
            // A short read proves nothing here: the edge that told of the end may be long gone.
            match self.read(scratch, plain, left)? {
                Read::Part(read) | Read::Full(read) => left -= read,
                Read::Nothing => return Ok(Received::Blocked),
                Read::End => return Ok(Received::End),
            }
        }
        Ok(Received::More)
    }

    /// Encrypts and writes; what the socket does not take now is kept for [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`PipeError`]: drop the pipe.
    pub fn send(&mut self, scratch: &mut Scratch, plain: &[u8]) -> Result<(), PipeError> {
        // Before adding to it, since a caller may not heed the error.
        self.check_unsent()?;
        let bytes = match &mut self.tls {
            Some(tls) => tls.encrypt(plain, &mut scratch.output, &mut self.unsent)?,
            None => plain,
        };
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            return self.flush();
        }
        let taken = push(&self.socket, bytes)?;
        self.bytes_out += taken as u64;
        self.unsent.extend_from_slice(&bytes[taken..]);
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
        let taken = push(&self.socket, &self.unsent)?;
        self.bytes_out += taken as u64;
        if taken == self.unsent.len() {
            self.unsent = Vec::new();
        } else {
            self.unsent.drain(..taken);
        }
        self.check_unsent()
    }

    /// Makes the close a reset, so that no port stays in TIME_WAIT.
    pub fn abandon(self) {
        // A socket that refuses the option is closed in the ordinary way.
        let _ = net::sockopt::set_socket_linger(&self.socket, Some(std::time::Duration::ZERO));
    }

    /// Application data can be sent: TLS stands, or a plain socket is connected.
    pub fn handshaken(&self) -> bool {
        self.handshaken
    }

    /// Bytes that wait for the socket, TLS included.
    pub fn unsent_bytes(&self) -> usize {
        self.unsent.len()
    }

    /// The machine under the pipe. `None`: it is plain.
    pub fn tls(&self) -> Option<&S> {
        self.tls.as_deref().map(Tls::machine)
    }

    fn read(
        &mut self,
        scratch: &mut Scratch,
        plain: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<Read, PipeError> {
        if self.tls.is_some() {
            self.read_records(scratch, plain, bytes_max)
        } else {
            self.read_plain(scratch, plain, bytes_max)
        }
    }

    fn read_records(
        &mut self,
        scratch: &mut Scratch,
        plain: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<Read, PipeError> {
        let Some(tls) = &mut self.tls else { return Ok(Read::Nothing) };
        let buffer = &mut scratch.input;
        let kept = tls.leftover.len();
        if buffer.len() < kept + READ_BYTES / 2 {
            buffer.resize(kept + READ_BYTES, 0);
        }
        let room = bytes_max.min(buffer.len() - kept);
        buffer[..kept].copy_from_slice(&tls.leftover);
        let read = took(
            net::recv(&self.socket, &mut buffer[kept..kept + room], RecvFlags::empty()),
            room,
        )?;
        let (Read::Part(bytes) | Read::Full(bytes)) = read else { return Ok(read) };
        self.bytes_in += bytes as u64;
        let filled = kept + bytes;
        let (used, stage) = tls.process(&mut buffer[..filled], plain, &mut self.unsent)?;
        if used == filled {
            tls.leftover = Vec::new();
        } else {
            tls.leftover.clear();
            tls.leftover.extend_from_slice(&buffer[used..filled]);
        }
        self.handshaken |= stage == Stage::Open;
        self.flush()?;
        Ok(if stage == Stage::Ended { Read::End } else { read })
    }

    fn read_plain(
        &mut self,
        scratch: &mut Scratch,
        plain: &mut Vec<u8>,
        bytes_max: usize,
    ) -> Result<Read, PipeError> {
        let (socket, flags) = (&self.socket, RecvFlags::empty());
        let read = if bytes_max < READ_BYTES {
            // Spare capacity cannot be read in part without `unsafe`, so few bytes take a detour.
            let read = took(net::recv(socket, &mut scratch.input[..bytes_max], flags), bytes_max)?;
            if let Read::Part(bytes) | Read::Full(bytes) = read {
                plain.extend_from_slice(&scratch.input[..bytes]);
            }
            read
        } else {
            plain.reserve(READ_BYTES);
            let room = plain.capacity() - plain.len();
            took(net::recv(socket, spare_capacity(plain), flags), room)?
        };
        if let Read::Part(bytes) | Read::Full(bytes) = read {
            self.bytes_in += bytes as u64;
        }
        if !self.handshaken {
            self.look_whether_connected();
        }
        Ok(read)
    }

    /// A connecting socket has no peer yet.
    fn look_whether_connected(&mut self) {
        self.handshaken = net::getpeername(&self.socket).is_ok();
    }

    fn check_unsent(&self) -> Result<(), PipeError> {
        if self.unsent.len() > UNSENT_BYTES_MAX { Err(PipeError::Clogged) } else { Ok(()) }
    }
}

/// Sorts what `recv` with room for `room` bytes came to.
fn took<Out>(result: rustix::io::Result<(Out, usize)>, room: usize) -> io::Result<Read> {
    match result {
        Ok((_, 0)) => Ok(Read::End),
        Ok((_, bytes)) if bytes < room => Ok(Read::Part(bytes)),
        Ok((_, bytes)) => Ok(Read::Full(bytes)),
        Err(Errno::AGAIN) => Ok(Read::Nothing),
        // A signal came first; a full read is followed by another one.
        Err(Errno::INTR) => Ok(Read::Full(0)),
        Err(error) => Err(error.into()),
    }
}

/// Writes until the socket takes no more, and says how much it took.
fn push(socket: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    let mut at = 0;
    while at < bytes.len() {
        match net::send(socket, &bytes[at..], SendFlags::NOSIGNAL) {
            Ok(taken) => at += taken,
            Err(Errno::AGAIN | Errno::NOTCONN) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(at)
}

#[cfg(test)]
#[path = "pipe_tests.rs"]
mod tests;
