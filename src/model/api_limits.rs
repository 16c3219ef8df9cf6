//! Limits of the HTTP API for backends. They are the operator's own backends, so none of these is a
//! rate: they keep the API from taking what people need.

use std::time::Duration;

/// Connections at a time; more are closed at once.
pub const API_CONNECTIONS_MAX: usize = 256;
/// A connection is told to end after so long, and cut a request's time later: one that takes no
/// answers does not keep its place.
pub const API_CONNECTION_TIME_MAX: Duration = Duration::from_mins(10);
/// Requests that are carried out at a time, on all connections; more are refused as overloaded.
pub const API_REQUESTS_MAX: usize = 64;
/// Longest body, bytes.
pub const API_BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest head of a request, bytes; what is read ahead is no more than that.
pub const API_HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most headers of a request.
pub const API_HEADERS_MAX: usize = 64;
/// A request's head must have come so long after the connection, or the answer before it.
pub const API_HEAD_TIME_MAX: Duration = Duration::from_secs(30);
/// A body must have come so long after its head.
pub const API_BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// A request that has come is answered after so long, whatever became of it.
pub const API_REQUEST_TIME_MAX: Duration = Duration::from_secs(15);
/// Longest value of `Idempotency-Key`, bytes.
pub const API_REQUEST_NAME_BYTES_MAX: usize = 255;
/// Longest name of a service key, bytes.
pub const SERVICE_KEY_NAME_BYTES_MAX: usize = 64;
/// Longest life of a token that the API issues, hours.
pub const API_TOKEN_HOURS_MAX: u64 = 24 * 365;
/// Its life where nothing is said, hours.
pub const API_TOKEN_HOURS: u64 = 24;
