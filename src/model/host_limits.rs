//! Limits towards the machine: sockets, turns of a shard, files of the certificate.

use std::time::Duration;

// --- sockets and turns ---

/// What the kernel may hold for a reader that stops, bytes.
pub const SOCKET_SEND_BUFFER_BYTES: usize = 16 * 1024;
/// Handshakes that wait to be accepted, per shard.
pub const LISTEN_BACKLOG: i32 = 4_096;
/// How long to stop accepting when there is no descriptor left: at first, and at most.
pub const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
/// See [`ACCEPT_PAUSE_MIN`].
pub const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// A client gets this long to read the last frame and to end its own side.
pub const FAREWELL: Duration = Duration::from_secs(1);
/// What it may still say meanwhile, bytes of ciphertext: they are read, and thrown away.
pub const PARTING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How often heartbeats and silence are looked at.
pub const TICK: Duration = Duration::from_millis(250);
/// A shard keeps a plaintext buffer up to this size between reads, bytes.
pub const SCRATCH_KEPT_BYTES: usize = 256 * 1024;
/// No more descriptors are asked for, even if the system would give them.
pub const DESCRIPTORS_MAX: u64 = 1 << 20;

// --- the certificate ---

/// How often its files are looked at.
pub const CERTIFICATE_LOOK: Duration = Duration::from_secs(10);
/// Files that keep changing and cannot be used are told of after so many looks.
pub const CERTIFICATE_DOUBTS_MAX: u32 = 6;
/// Longest file of a chain or a key, bytes.
pub const CERTIFICATE_FILE_BYTES_MAX: u64 = 1 << 20;
/// With less left, a warning is logged.
pub const CERTIFICATE_SOON: Duration = Duration::from_hours(14 * 24);
/// With less left, an error is logged.
pub const CERTIFICATE_URGENT: Duration = Duration::from_hours(3 * 24);
/// How often either is logged, at most.
pub const CERTIFICATE_REMINDER: Duration = Duration::from_hours(24);
