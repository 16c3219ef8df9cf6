//! One socket with its TLS state: ciphertext is made and taken apart in buffers of the shard.
//!
//! ```text
//! socket -> | left | read ...            scratch.input   -> decrypted -> plain
//!             ^ kept only while a record is incomplete
//! plain  -> | record | record | ...      scratch.output  -> socket
//!                         ^ kept only while the socket is full
//! ```

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError};

use super::options::RECORD_BYTES_MAX;
use super::socket::{Detached, Interest, Socket};
use crate::model::limits;

/// What TLS adds to a record at most, with room for a key update in front, bytes.
const RECORD_EXTRA_BYTES: usize = 1024;
/// Ciphertext of an incomplete record or handshake message that may wait for its rest, bytes.
const LEFT_BYTES_MAX: usize = RECORD_BYTES_MAX + RECORD_EXTRA_BYTES;
/// Ciphertext that may wait for a full socket, bytes. A send is made only when nothing waits; more
/// than one of them can only be what TLS itself has to say.
const UNWRITTEN_BYTES_MAX: usize = 256 * 1024;
/// Ciphertext taken from the socket at once, bytes.
const READ_BYTES_MAX: usize = 40 * 1024;

/// Bytes that are thrown away at once.
const DISCARD_BYTES: usize = 16 * 1024;

/// Buffers that all wires of a shard share; at rest a wire has none of its own.
pub struct Scratch {
    input: Box<[u8]>,
    output: Box<[u8]>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            input: vec![0; LEFT_BYTES_MAX + READ_BYTES_MAX].into(),
            output: vec![0; RECORD_BYTES_MAX + RECORD_EXTRA_BYTES].into(),
        }
    }
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
    /// The peer sent something that must not be sent then, or this end did.
    #[error("TLS: {0}")]
    Unexpected(&'static str),
}

/// What came of a read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// Bytes came, though perhaps no plaintext (handshake, half a record).
    Some,
    /// Nothing there: wait for readiness.
    Blocked,
    /// The peer will send no more.
    End,
}

/// A socket and the TLS state of its server side.
pub struct Wire {
    socket: Box<dyn Socket>,
    inner: Inner,
}

/// A wire on its way to another shard.
pub struct DetachedWire {
    socket: Box<dyn Detached>,
    inner: Inner,
}

/// All but the socket.
struct Inner {
    tls: Box<UnbufferedServerConnection>,
    left: Box<[u8]>,
    unwritten: Option<Box<Unwritten>>,
    ended: bool,
}

/// Ciphertext that the socket did not take.
struct Unwritten {
    bytes: Vec<u8>,
    at: usize,
}

// The hand-over to another shard needs it.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<DetachedWire>();
};

impl Wire {
    /// Starts the server side of TLS on an accepted connection.
    ///
    /// # Errors
    /// [`WireError::Tls`] for a configuration that cannot serve.
    pub fn accept(socket: Box<dyn Socket>, config: Arc<ServerConfig>) -> Result<Self, WireError> {
        let tls = Box::new(UnbufferedServerConnection::new(config)?);
        let inner = Inner { tls, left: Box::default(), unwritten: None, ended: false };
        Ok(Self { socket, inner })
    }

    /// Reads once, at most 40 KiB, drives the handshake and appends the plaintext to `plain`.
    ///
    /// # Errors
    /// After any error the wire is to be dropped; an alert has been tried where TLS has one.
    pub fn receive(
        &mut self,
        scratch: &mut Scratch,
        plain: &mut Vec<u8>,
    ) -> Result<Received, WireError> {
        if self.inner.ended {
            return Ok(Received::End);
        }
        let held = self.inner.left.len();
        let input = &mut scratch.input[..held + READ_BYTES_MAX];
        let read = match self.socket.try_read(&mut input[held..]) {
            Ok(0) => {
                self.inner.ended = true;
                return Ok(Received::End);
            }
            Ok(read) => read,
            Err(error) if is_blocked(&error) => return Ok(Received::Blocked),
            Err(error) => return Err(error.into()),
        };
        input[..held].copy_from_slice(&self.inner.left);
        let filled = &mut input[..held + read];
        let used = self.open(filled, &mut scratch.output, plain)?;
        let left = &filled[used..];
        if left.len() > LEFT_BYTES_MAX {
            return Err(WireError::Unexpected("a message that does not end"));
        }
        if !(left.is_empty() && held == 0) {
            self.inner.left = left.into();
        }
        Ok(Received::Some)
    }

    /// Takes all complete records out of `input`; returns how many bytes they were.
    fn open(
        &mut self,
        input: &mut [u8],
        output: &mut [u8],
        plain: &mut Vec<u8>,
    ) -> Result<usize, WireError> {
        let (mut used, mut sealed) = (0, 0);
        loop {
            let status = self.inner.tls.process_tls_records(&mut input[used..]);
            used += status.discard;
            match status.state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        used += record.discard;
                        plain.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    let mut encoded = data.encode(&mut output[sealed..]);
                    if matches!(encoded, Err(EncodeError::InsufficientSize(_))) {
                        self.inner.unwritten =
                            put(&*self.socket, self.inner.unwritten.take(), &output[..sealed])?;
                        sealed = 0;
                        encoded = data.encode(output);
                    }
                    sealed += encoded.map_err(cannot_encode)?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    self.put(&output[..sealed])?;
                    sealed = 0;
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => break,
                Ok(ConnectionState::PeerClosed) => self.inner.ended = true,
                Ok(ConnectionState::Closed) => break,
                // 0-RTT is off: its plaintext may be a replay.
                Ok(_) => return Err(WireError::Unexpected("early data, which is off")),
                Err(error) => {
                    self.send_alert(output);
                    return Err(error.into());
                }
            }
        }
        Ok(used)
    }

    /// Encrypts and writes; what the socket does not take is kept. Longer plaintext than a record
    /// has goes out in several. Call it only while [`Wire::is_drained`].
    ///
    /// # Errors
    /// [`WireError`]: the connection is over.
    pub fn send(&mut self, scratch: &mut Scratch, plain: &[u8]) -> Result<(), WireError> {
        for record in plain.chunks(RECORD_BYTES_MAX) {
            let sealed = self.seal(record, &mut scratch.output)?;
            self.put(&scratch.output[..sealed])?;
        }
        Ok(())
    }

    /// Encrypts one record into `output`, behind anything that TLS itself has to say.
    fn seal(&mut self, record: &[u8], output: &mut [u8]) -> Result<usize, WireError> {
        let mut sealed = 0;
        loop {
            // Handshake bytes that wait for their rest belong to the TLS state: it must see them in
            // every call. They are there only when a peer cuts a key update in two.
            match self.inner.tls.process_tls_records(&mut self.inner.left).state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let out = &mut output[sealed..];
                    return Ok(sealed + traffic.encrypt(record, out).map_err(cannot_encrypt)?);
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    sealed += data.encode(&mut output[sealed..]).map_err(cannot_encode)?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.inner.ended = true,
                ConnectionState::Closed => {
                    return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
                }
                _ => return Err(WireError::Unexpected("a write before the handshake was over")),
            }
        }
    }

    /// Tells the peer that nothing follows, and writes no more. What the socket does not take is
    /// lost.
    pub fn end(&mut self, scratch: &mut Scratch) {
        let status = self.inner.tls.process_tls_records(&mut self.inner.left);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = status.state
            && let Ok(sealed) = traffic.queue_close_notify(&mut scratch.output)
            && self.is_drained()
        {
            // The peer may be gone; then there is nobody to tell.
            drop(self.put(&scratch.output[..sealed]));
        }
        self.socket.shutdown();
    }

    /// Waits until the socket took everything.
    ///
    /// # Errors
    /// [`WireError::Io`]: the connection is over.
    pub async fn drain(&mut self) -> Result<(), WireError> {
        while !self.is_drained() {
            poll_fn(|cx| self.poll_ready(cx, Interest::Write)).await?;
            self.flush()?;
        }
        Ok(())
    }

    /// Reads on after the end, for nothing, until the peer ends too or has said more than one who
    /// keeps the rules can have on its way: its last bytes must not turn into a reset, which could
    /// overtake ours. Its time is the caller's to bound.
    pub async fn part(self) {
        let mut left = limits::PARTING_BYTES_MAX;
        while left > 0 {
            let ready = poll_fn(|cx| self.socket.poll_ready(Interest::Read, cx)).await;
            match ready.and_then(|()| self.discard()) {
                Ok(0) => return,
                Ok(read) => left = left.saturating_sub(read),
                Err(error) if is_blocked(&error) => {}
                Err(_) => return,
            }
        }
    }

    /// Not across an await: a buffer in every connection that parts would cost too much.
    fn discard(&self) -> io::Result<usize> {
        self.socket.try_read(&mut [0; DISCARD_BYTES])
    }

    /// The last words after a broken record; nobody waits for them.
    fn send_alert(&mut self, output: &mut [u8]) {
        let mut sealed = 0;
        while self.inner.tls.wants_write() {
            let status = self.inner.tls.process_tls_records(&mut []);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = status.state else { break };
            let Ok(encoded) = data.encode(&mut output[sealed..]) else { break };
            sealed += encoded;
        }
        let _ = self.put(&output[..sealed]);
    }

    fn put(&mut self, sealed: &[u8]) -> Result<(), WireError> {
        self.inner.unwritten = put(&*self.socket, self.inner.unwritten.take(), sealed)?;
        Ok(())
    }

    /// Offers what is kept to the socket. `true`: it took some.
    ///
    /// # Errors
    /// [`WireError::Io`]: the connection is over.
    pub fn flush(&mut self) -> Result<bool, WireError> {
        let Some(unwritten) = self.inner.unwritten.as_deref_mut() else { return Ok(false) };
        let written = write(&*self.socket, &unwritten.bytes[unwritten.at..])?;
        unwritten.at += written;
        if unwritten.at == unwritten.bytes.len() {
            self.inner.unwritten = None;
        }
        Ok(written > 0)
    }

    /// Whether a try would not block. A wire whose peer has closed can be read: it has ended.
    pub fn poll_ready(&self, cx: &mut Context<'_>, interest: Interest) -> Poll<io::Result<()>> {
        if self.inner.ended && interest == Interest::Read {
            return Poll::Ready(Ok(()));
        }
        self.socket.poll_ready(interest, cx)
    }

    /// Whether the socket has taken everything.
    pub fn is_drained(&self) -> bool {
        self.inner.unwritten.is_none()
    }

    /// Whether the handshake is over.
    pub fn handshaken(&self) -> bool {
        !self.inner.tls.is_handshaking()
    }

    /// The protocol agreed on. `None`: the client offered none.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.inner.tls.alpn_protocol()
    }

    /// Leaves this shard, with everything that was left over.
    ///
    /// # Errors
    /// What the system says; the connection is gone then.
    pub fn detach(self) -> io::Result<DetachedWire> {
        Ok(DetachedWire { socket: self.socket.detach()?, inner: self.inner })
    }
}

impl DetachedWire {
    /// Joins the shard that calls.
    ///
    /// # Errors
    /// What the system says; the connection is gone then.
    pub fn attach(self) -> io::Result<Wire> {
        Ok(Wire { socket: self.socket.attach()?, inner: self.inner })
    }
}

/// Writes `sealed` behind what waits, and returns what waits now.
fn put(
    socket: &dyn Socket,
    waiting: Option<Box<Unwritten>>,
    sealed: &[u8],
) -> Result<Option<Box<Unwritten>>, WireError> {
    if let Some(mut waiting) = waiting {
        if waiting.bytes.len() + sealed.len() > UNWRITTEN_BYTES_MAX {
            return Err(WireError::Unexpected("questions without reading the answers"));
        }
        waiting.bytes.extend_from_slice(sealed);
        return Ok(Some(waiting));
    }
    let written = write(socket, sealed)?;
    let rest = &sealed[written..];
    Ok((!rest.is_empty()).then(|| Box::new(Unwritten { bytes: rest.to_vec(), at: 0 })))
}

/// Writes until the socket is full.
fn write(socket: &dyn Socket, mut bytes: &[u8]) -> Result<usize, WireError> {
    let all = bytes.len();
    while !bytes.is_empty() {
        match socket.try_write(bytes) {
            Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if is_blocked(&error) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(all - bytes.len())
}

fn is_blocked(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn cannot_encode(_: EncodeError) -> WireError {
    WireError::Unexpected("a handshake message longer than a record")
}

fn cannot_encrypt(_: EncryptError) -> WireError {
    WireError::Unexpected("more records than one key may protect")
}
