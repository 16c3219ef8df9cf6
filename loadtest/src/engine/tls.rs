//! rustls' unbuffered machine of one connection, and the beginning of a record.
//!
//! The machine keeps no buffers, and neither do we: ciphertext comes from a buffer that all
//! connections share, and only what is no whole record yet is kept.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};

use super::pipe::PipeError;

/// What a record adds to its content: header, tag, content type.
const RECORD_OVERHEAD: usize = 5 + 16 + 1;
/// Content that fits in one record.
const RECORD_CONTENT: usize = 16 * 1024;

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

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stage {
    Handshake,
    Open,
    /// The other end said goodbye.
    Ended,
}

/// See the module.
pub(super) struct Tls<S> {
    machine: S,
    /// The beginning of a record.
    pub(super) leftover: Vec<u8>,
}

impl<S: Side> Tls<S> {
    pub(super) fn new(machine: S) -> Self {
        Self { machine, leftover: Vec::new() }
    }

    /// Takes in ciphertext: what was said goes to `plain`, what TLS itself must say to `unsent`.
    /// Returns how much of the ciphertext is done with.
    pub(super) fn process(
        &mut self,
        cipher: &mut [u8],
        plain: &mut Vec<u8>,
        unsent: &mut Vec<u8>,
    ) -> Result<(usize, Stage), PipeError> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.machine.process(&mut cipher[used..]);
            let mut stage = None;
            match state? {
                ConnectionState::ReadTraffic(mut records) => {
                    while let Some(record) = records.next_record() {
                        let record = record?;
                        plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    let at = unsent.len();
                    let needed = match data.encode(&mut []) {
                        Err(EncodeError::InsufficientSize(size)) => size.required_size,
                        Ok(_) | Err(_) => return Err(PipeError::State("nothing to encode")),
                    };
                    unsent.resize(at + needed, 0);
                    let written = data
                        .encode(&mut unsent[at..])
                        .map_err(|_| PipeError::State("a handshake message that does not fit"))?;
                    unsent.truncate(at + written);
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(_) => stage = Some(Stage::Open),
                ConnectionState::BlockedHandshake => stage = Some(Stage::Handshake),
                ConnectionState::PeerClosed | ConnectionState::Closed => {
                    stage = Some(Stage::Ended);
                }
                _ => return Err(PipeError::State("early data")),
            }
            used += discard;
            if let Some(stage) = stage {
                return Ok((used, stage));
            }
        }
    }

    /// Encrypts into `output`, and returns the records. What TLS itself must say first goes to
    /// `unsent`.
    pub(super) fn encrypt<'o>(
        &mut self,
        plain: &[u8],
        output: &'o mut Vec<u8>,
        unsent: &mut Vec<u8>,
    ) -> Result<&'o [u8], PipeError> {
        let records = plain.len() / RECORD_CONTENT + 1;
        let room = plain.len() + records * RECORD_OVERHEAD;
        if output.len() < room {
            output.resize(room, 0);
        }
        loop {
            match self.machine.process(&mut []).state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    let written = traffic
                        .encrypt(plain, output)
                        .map_err(|_| PipeError::State("a record that does not fit"))?;
                    return Ok(&output[..written]);
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    // A key update or ticket that came due.
                    let at = unsent.len();
                    unsent.resize(at + RECORD_CONTENT + RECORD_OVERHEAD, 0);
                    let encoded = data
                        .encode(&mut unsent[at..])
                        .map_err(|_| PipeError::State("a message that does not fit"))?;
                    unsent.truncate(at + encoded);
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                _ => return Err(PipeError::State("sending before the handshake's end")),
            }
        }
    }
}

impl<S> Tls<S> {
    pub(super) fn machine(&self) -> &S {
        &self.machine
    }
}
