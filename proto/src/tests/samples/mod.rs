//! One frame of every kind, from the life of alice (7) and bob (9) in the group 42.

mod client; // what a client sends
mod server; // what a server sends

use damso_proto::frame;
use damso_proto::id::{ID_EPOCH_MS, Key};
use damso_proto::wire::{ClientFrame, ServerFrame};

pub(crate) use client::frames as client;
pub(crate) use server::frames as server;

pub(crate) const ALICE: u64 = 7;
pub(crate) const BOB: u64 = 9;
pub(crate) const CAROL: u64 = 11;
pub(crate) const GROUP: u64 = 42;
pub(crate) const BROADCAST: u64 = 46;
pub(crate) const DIRECT: u64 = 44;
/// Alice's own log.
pub(crate) const SELF: u64 = 2 * ALICE + 1;
/// 90 days after the time of message ids begins.
pub(crate) const UNIX_MS: u64 = ID_EPOCH_MS + 90 * 86_400_000;

/// A frame under the name that it has in `vectors/` and in README.md.
pub(crate) struct Sample<F> {
    pub(crate) name: &'static str,
    /// `None`: a keep-alive.
    pub(crate) frame: Option<F>,
}

fn sample<F>(name: &'static str, frame: F) -> Sample<F> {
    Sample { name, frame: Some(frame) }
}

impl Sample<ClientFrame> {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.frame.as_ref().map_or(vec![0], |frame| frame::encode_client(frame).to_vec())
    }
}

impl Sample<ServerFrame> {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.frame.as_ref().map_or(vec![0], |frame| frame::encode_server(frame).to_vec())
    }
}

/// The `n`th key that alice's device makes.
pub(crate) fn key(n: u8) -> bytes::Bytes {
    let key = Key::new(UNIX_MS + 1_000 * u64::from(n), [n; 10]);
    bytes::Bytes::copy_from_slice(key.as_bytes())
}

/// The id of the message that was sent `after_ms` after [`UNIX_MS`].
fn message_id(after_ms: u64) -> u64 {
    (UNIX_MS - ID_EPOCH_MS + after_ms) << 22 | 1 << 12
}
