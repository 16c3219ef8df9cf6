//! Limits of the protocol itself: what a server accepts of any client, and how long it waits.
//!
//! A server may allow more than the floor in Welcome, never less.

use std::time::Duration;

/// Longest frame before login, bytes without its length.
pub const FRAME_BEFORE_LOGIN_BYTES_MAX: u32 = 4 * 1024;
/// Longest frame after login unless Welcome allows more, bytes without its length.
pub const FRAME_BYTES_MAX: u32 = 64 * 1024;
/// Longest frame that a Welcome may allow.
pub const FRAME_BYTES_CEILING: u32 = 16 * 1024 * 1024;
/// From so many bytes behind Hello on, a server stops reading until the login is accepted.
pub const BEHIND_HELLO_BYTES_MAX: usize = 32 * 1024;
/// Most bytes that a caller of [`ServerConn`](crate::server::ServerConn) may read at once and still
/// stop in time; whoever reads on although paused meets a fault.
pub const READ_BYTES_MAX: usize = 64 * 1024;
/// Requests of one connection that are not answered yet. With so many, reading stops.
pub const REQUESTS_IN_FLIGHT_MAX: u16 = 32;
/// Cursors in one Resume frame.
pub const RESUME_CURSORS_PER_FRAME_MAX: usize = 4_096;
/// Pending sends in one Resume frame.
pub const RESUME_PENDING_PER_FRAME_MAX: usize = 256;
/// Longest trace context that is passed on; a longer one is dropped. W3C's has 55 bytes.
pub const TRACEPARENT_BYTES_MAX: usize = 128;
/// Most Resume frames of one login.
pub const RESUME_FRAMES_MAX: u8 = 16;
/// A server that heard nothing for so long asks whether anyone is there.
pub const PROBE_AFTER: Duration = Duration::from_secs(60);
/// A server that heard nothing for so long closes.
pub const IDLE_LIMIT: Duration = Duration::from_secs(150);
/// How long a client may take to its Hello, and after Welcome to the last of its Resume frames.
pub const LOGIN_LIMIT: Duration = Duration::from_secs(10);

const _: () = assert!(FRAME_BEFORE_LOGIN_BYTES_MAX < FRAME_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX <= FRAME_BYTES_CEILING);
// A Hello and one full Resume fit before anything has to wait for the login.
const _: () = assert!(FRAME_BEFORE_LOGIN_BYTES_MAX as usize <= BEHIND_HELLO_BYTES_MAX);
const _: () = assert!(BEHIND_HELLO_BYTES_MAX < FRAME_BYTES_MAX as usize);
// Ten bytes are the longest varint; a cursor is two.
const _: () = assert!(RESUME_CURSORS_PER_FRAME_MAX * 2 * 6 < FRAME_BYTES_MAX as usize);
// One lost probe is not the end: there is room for a second silence.
const _: () = assert!(2 * PROBE_AFTER.as_secs() < IDLE_LIMIT.as_secs());
const _: () = assert!(LOGIN_LIMIT.as_secs() < PROBE_AFTER.as_secs());
