//! One socket with its TLS state: ciphertext in, plaintext out, and the other way round.
//!
//! rustls' unbuffered interface works in buffers of the caller's: all pipes of a shard
//! share one [`Scratch`]. A wire keeps bytes of its own only in two cases: ciphertext
//! of a record that has not arrived whole, and the rest of one record that the socket
//! did not take.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    AppDataRecord, ConnectionState, EncodeError, EncryptError, UnbufferedStatus,
};

use super::socket::{Detached, Interest, Socket};

/// Most plaintext of one record.
pub(super) const RECORD_BYTES_MAX: usize = 16 * 1024;
/// Header, content type and tag that a record adds.
const RECORD_EXTRA_BYTES: usize = 64;
/// Read at once. A whole record and the beginning of the next always fit.
const INPUT_BYTES: usize = 40 * 1024;
/// Largest handshake message that rustls takes, and so most ciphertext that may wait.
const LEFT_BYTES_MAX: usize = 0x1_0000 - 1 + RECORD_EXTRA_BYTES;

/// Buffers that all pipes of a shard share.
#[derive(Default)]
pub struct Scratch {
    input: Vec<u8>,
    output: Vec<u8>,
    /// Plaintext of a record that is put together.
    pub(super) plain: Vec<u8>,
}

/// What one try to read led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// Bytes came, though perhaps no plaintext.
    Some,
    /// Nothing is there.
    Blocked,
    /// The peer is done.
    End,
}

/// Why a wire is of no more use.
#[derive(thiserror::Error, Debug)]
pub enum WireError {
    /// The socket failed, or the peer is gone.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
    /// The peer broke TLS, or what it sent never was TLS.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The peer sent something that must not be sent then.
    #[error("TLS: {0}")]
    Unexpected(&'static str),
}

/// A socket and its TLS connection.
pub struct Wire {
    socket: Box<dyn Socket>,
    tls: Box<UnbufferedServerConnection>,
    /// Ciphertext of a record that has not arrived whole.
    left: Vec<u8>,
    /// Ciphertext that the socket did not take.
    unsent: Vec<u8>,
    handshaken: bool,
}

/// A wire between two shards.
pub struct DetachedWire {
    socket: Box<dyn Detached>,
    tls: Box<UnbufferedServerConnection>,
    left: Vec<u8>,
    unsent: Vec<u8>,
}

const fn must_be_send<T: Send>() {}
const _: () = must_be_send::<DetachedWire>();

impl Wire {
    /// The server's end of a connection that begins.
    ///
    /// # Errors
    /// [`WireError::Tls`]: the configuration cannot serve.
    pub fn accept(
        socket: Box<dyn Socket>,
        config: Arc<rustls::ServerConfig>,
    ) -> Result<Self, WireError> {
        let tls = Box::new(UnbufferedServerConnection::new(config)?);
        Ok(Self { socket, tls, left: Vec::new(), unsent: Vec::new(), handshaken: false })
    }

    /// Whether the handshake is over.
    pub fn handshaken(&self) -> bool {
        self.handshaken
    }

    /// The protocol agreed on.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.tls.alpn_protocol()
    }

    /// Whether a try would not block.
    pub fn poll_ready(&self, cx: &mut Context<'_>, interest: Interest) -> Poll<io::Result<()>> {
        self.socket.poll_ready(interest, cx)
    }

    /// Reads once and decrypts what came into `plain`; answers handshakes on the way.
    ///
    /// # Errors
    /// [`WireError`]: the connection is over.
    pub fn receive(
        &mut self,
        scratch: &mut Scratch,
        plain: &mut Vec<u8>,
    ) -> Result<Received, WireError> {
        let held = self.left.len();
        scratch.input.resize(held + INPUT_BYTES, 0);
        let (left, fresh) = scratch.input.split_at_mut(held);
        let read = match self.socket.try_read(fresh) {
            Ok(0) => return Ok(Received::End),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Received::Blocked);
            }
            Err(error) => return Err(error.into()),
        };
        left.copy_from_slice(&self.left);
        let Scratch { input, output, .. } = scratch;
        let records = input.get_mut(..held + read).unwrap_or_default();
        let (used, open) = self.decrypt(records, output, plain)?;
        let rest = records.get(used..).unwrap_or_default();
        if rest.len() > LEFT_BYTES_MAX {
            return Err(WireError::Unexpected("more bytes than a record has"));
        }
        if rest.is_empty() {
            self.left = Vec::new();
        } else {
            self.left.clear();
            self.left.extend_from_slice(rest);
        }
        Ok(if open { Received::Some } else { Received::End })
    }

    /// How many bytes of `records` are done with, and whether the peer still sends.
    fn decrypt(
        &mut self,
        records: &mut [u8],
        output: &mut Vec<u8>,
        plain: &mut Vec<u8>,
    ) -> Result<(usize, bool), WireError> {
        let mut used = 0;
        let mut flight = 0;
        loop {
            let rest = records.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { mut discard, state, .. } = self.tls.process_tls_records(rest);
            let mut done = None;
            match state? {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let AppDataRecord { discard: more, payload, .. } = record?;
                        discard += more;
                        plain.extend_from_slice(payload);
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    flight += encode(output, flight, |out| data.encode(out))?;
                }
                ConnectionState::TransmitTlsData(data) => {
                    let bytes = output.get(..flight).unwrap_or_default();
                    put(&*self.socket, &mut self.unsent, bytes)?;
                    flight = 0;
                    data.done();
                }
                ConnectionState::BlockedHandshake => done = Some(true),
                ConnectionState::WriteTraffic(_) => {
                    self.handshaken = true;
                    done = Some(true);
                }
                ConnectionState::PeerClosed | ConnectionState::Closed => done = Some(false),
                ConnectionState::ReadEarlyData(_) => {
                    return Err(WireError::Unexpected("early data, which is off"));
                }
                _ => return Err(WireError::Unexpected("a state that this server does not know")),
            }
            used += discard;
            if let Some(open) = done {
                return Ok((used, open));
            }
        }
    }

    /// Encrypts and writes; what the socket does not take is kept. Longer plaintext than a
    /// record has goes out in several.
    ///
    /// # Errors
    /// [`WireError`]: the connection is over.
    pub fn send(&mut self, scratch: &mut Scratch, plain: &[u8]) -> Result<(), WireError> {
        plain
            .chunks(RECORD_BYTES_MAX)
            .try_for_each(|record| self.record(&mut scratch.output, record))
    }

    /// One record from the scratch's own plaintext.
    pub(super) fn send_plain(&mut self, scratch: &mut Scratch) -> Result<(), WireError> {
        let Scratch { output, plain, .. } = scratch;
        plain.chunks(RECORD_BYTES_MAX).try_for_each(|record| self.record(output, record))
    }

    fn record(&mut self, output: &mut Vec<u8>, plain: &[u8]) -> Result<(), WireError> {
        let mut length = 0;
        loop {
            match self.tls.process_tls_records(&mut []).state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    length +=
                        encrypt(output, length, plain.len(), |out| traffic.encrypt(plain, out))?;
                    let bytes = output.get(..length).unwrap_or_default();
                    return Ok(put(&*self.socket, &mut self.unsent, bytes)?);
                }
                // A key update that the peer asked for goes out first.
                ConnectionState::EncodeTlsData(mut data) => {
                    length += encode(output, length, |out| data.encode(out))?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed | ConnectionState::Closed => {
                    return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
                }
                _ => return Err(WireError::Unexpected("a write before the handshake was over")),
            }
        }
    }

    /// Whether the socket has taken everything.
    pub fn is_drained(&self) -> bool {
        self.unsent.is_empty()
    }

    /// Offers what is kept to the socket. `true`: it took some.
    ///
    /// # Errors
    /// [`WireError::Io`]: the connection is over.
    pub fn flush(&mut self) -> Result<bool, WireError> {
        let before = self.unsent.len();
        while !self.unsent.is_empty() {
            match self.socket.try_write(&self.unsent) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(taken) if taken == self.unsent.len() => self.unsent = Vec::new(),
                Ok(taken) => drop(self.unsent.drain(..taken)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.unsent.len() < before)
    }

    /// Tells the peer that nothing follows, and ends the socket. What it did not take is lost.
    pub fn end(&mut self, scratch: &mut Scratch) {
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) =
            self.tls.process_tls_records(&mut []).state
        {
            let sent = encrypt(&mut scratch.output, 0, 0, |out| traffic.queue_close_notify(out));
            if let Ok(length) = sent
                && self.unsent.is_empty()
            {
                let bytes = scratch.output.get(..length).unwrap_or_default();
                // The peer may be gone; then there is nobody to tell.
                drop(self.socket.try_write(bytes));
            }
        }
        self.socket.shutdown();
    }

    /// Waits until the socket took everything, then ends it.
    pub async fn finish(mut self, scratch: &mut Scratch) {
        while !self.is_drained() {
            let ready = poll_fn(|cx| self.poll_ready(cx, Interest::Write)).await;
            if ready.is_err() || self.flush().is_err() {
                return;
            }
        }
        self.end(scratch);
    }

    /// Leaves this shard, with all that was read and not yet written.
    ///
    /// # Errors
    /// The operating system refused; the connection is gone.
    pub fn detach(self) -> io::Result<DetachedWire> {
        let Self { socket, tls, left, unsent, .. } = self;
        Ok(DetachedWire { socket: socket.detach()?, tls, left, unsent })
    }

    pub(super) fn socket(&self) -> &dyn Socket {
        &*self.socket
    }
}

impl DetachedWire {
    /// Joins this shard.
    ///
    /// # Errors
    /// The operating system refused; the connection is gone.
    pub fn attach(self) -> io::Result<Wire> {
        let Self { socket, tls, left, unsent } = self;
        Ok(Wire { socket: socket.attach()?, tls, left, unsent, handshaken: true })
    }
}

/// Writes what the socket takes; the rest is kept, behind what was kept before.
fn put(socket: &dyn Socket, unsent: &mut Vec<u8>, mut bytes: &[u8]) -> io::Result<()> {
    while unsent.is_empty() && !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(taken) => bytes = bytes.get(taken..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    unsent.extend_from_slice(bytes);
    Ok(())
}

fn encode(
    output: &mut Vec<u8>,
    at: usize,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<usize, WireError> {
    loop {
        match encode(output.get_mut(at..).unwrap_or_default()) {
            Ok(length) => return Ok(length),
            Err(EncodeError::InsufficientSize(short)) => output.resize(at + short.required_size, 0),
            Err(EncodeError::AlreadyEncoded) => {
                return Err(WireError::Unexpected("a handshake message twice"));
            }
        }
    }
}

fn encrypt(
    output: &mut Vec<u8>,
    at: usize,
    plain_len: usize,
    mut encrypt: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<usize, WireError> {
    if output.len() < at + plain_len + RECORD_EXTRA_BYTES {
        output.resize(at + RECORD_BYTES_MAX + RECORD_EXTRA_BYTES, 0);
    }
    loop {
        match encrypt(output.get_mut(at..).unwrap_or_default()) {
            Ok(length) => return Ok(length),
            Err(EncryptError::InsufficientSize(short)) => {
                output.resize(at + short.required_size, 0);
            }
            Err(EncryptError::EncryptExhausted) => {
                return Err(WireError::Unexpected("more records than one key may protect"));
            }
        }
    }
}
