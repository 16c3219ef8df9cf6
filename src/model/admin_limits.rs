//! Limits of the admin port. Whoever asks there is the operator or their tools: these keep a mistake
//! of theirs, or a stranger on their network, from taking what people need.

use std::time::Duration;

/// Connections at a time; more are closed at once.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Longest body of a request, bytes.
pub const ADMIN_BODY_BYTES_MAX: usize = 4 * 1024;
/// The password has so many characters at least, and at most.
pub const ADMIN_TOKEN_BYTES: std::ops::RangeInclusive<usize> = 32..=512;
/// A shard answers an operator within this, or is said to be silent.
pub const OPERATE_TIME_MAX: Duration = Duration::from_secs(2);
/// Most connections on one page of the list.
pub const CONNECTIONS_PER_PAGE_MAX: usize = 500;
/// So many where nothing is said.
pub const CONNECTIONS_PER_PAGE: usize = 100;
/// Longest time for which clients are told to stay away.
pub const STAY_AWAY_MAX: Duration = Duration::from_hours(1);
/// Most further addresses that clients are told.
pub const ALTERNATES_MAX: usize = 8;
