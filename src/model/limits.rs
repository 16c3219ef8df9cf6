//! Every limit of the server in one place, with its unit and what must hold between them.
//!
//! A limit that a client is told (in Welcome) stands beside the one that protects the
//! server, so that neither can be changed without the compiler comparing the two.

use std::time::Duration;

use super::rate::{Rate, Rates};

pub use super::admin_limits::*;
pub use super::api_limits::*;
pub use super::host_limits::*;
pub use super::memory_limits::*;

// --- what a message may carry ---

/// Longest text of a message, bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Longest body of a custom message, bytes.
pub const CUSTOM_BYTES_MAX: usize = 16 * 1024;
/// Longest type name of a custom message, bytes of UTF-8.
pub const CUSTOM_TYPE_BYTES_MAX: usize = 64;

// --- people and channels ---

/// Longest name of a group, bytes of UTF-8.
pub const GROUP_NAME_BYTES_MAX: usize = 128;
/// Most members of a group, and most people who may write in a broadcast: so many stand in the
/// memory of the channel's owner.
pub const GROUP_MEMBERS_MAX: usize = 1_000;
/// Most members of a broadcast.
pub const BROADCAST_MEMBERS_MAX: usize = 1_000_000;
/// Most people whom one command adds, when a channel is made (its maker not counted) or later.
pub const MEMBERS_PER_COMMAND_MAX: usize = 100;
/// Most people who are kept out of a channel.
pub const BANS_PER_CHANNEL_MAX: usize = 10_000;
/// Most people whom a person blocks.
pub const BLOCKS_PER_USER_MAX: usize = 1_000;
/// Longest key of a channel, bytes of UTF-8.
pub const CHANNEL_KEY_BYTES_MAX: usize = 128;
/// Most entries of what a backend notes on a channel or a person.
pub const CUSTOM_MAP_ENTRIES_MAX: usize = 32;
/// Longest name of such an entry, bytes of UTF-8.
pub const CUSTOM_MAP_NAME_BYTES_MAX: usize = 64;
/// All of it together, bytes.
pub const CUSTOM_MAP_BYTES_MAX: usize = 4 * 1024;
/// Most channels of a person, their own log not counted.
pub const CHANNELS_PER_USER_MAX: usize = 5_000;
/// No setting of it goes beyond: so many are read and resumed, whatever was allowed when they came.
pub const CHANNELS_PER_USER_CEILING: usize = 2 * RESUME_CURSORS_PER_FRAME_MAX;
/// Most channels on one page of a person's list.
pub const CHANNELS_PER_PAGE_MAX: usize = 200;
/// Most members on one page of a channel's list.
pub const MEMBERS_PER_PAGE_MAX: usize = 500;
/// Most people looked up by one request.
pub const PEOPLE_PER_LOOKUP_MAX: usize = 100;
/// Most devices of a person.
pub const DEVICES_PER_USER_MAX: usize = 10;
/// How exactly it is known when a device was last seen: a login writes no more often.
pub const DEVICE_SEEN_GRAIN: Duration = Duration::from_hours(7 * 24);
/// A proven device that was not seen for so long gives its place to a new one.
pub const DEVICE_UNSEEN_MAX: Duration = Duration::from_hours(30 * 24);
/// Most connections of a person.
pub const CONNECTIONS_PER_USER_MAX: usize = 20;

// --- how fast ---

/// What one person sends and changes, on all their devices together: a message costs one, other
/// requests what the request table says.
pub const SENDS_PER_USER: Rate = Rate { per_second: 20, burst: 60 };
/// What one person reads, in the same units: a budget of its own, so that a device which catches
/// up keeps nobody from sending.
pub const READS_PER_USER: Rate = Rate { per_second: 400, burst: 4_000 };
/// Messages of people into one channel, of all its members together.
pub const SENDS_PER_CHANNEL: Rate = Rate { per_second: 200, burst: 600 };
/// Budgets kept per shard: of everybody who asked for something lately.
pub const BUDGETS_MAX: usize = 1 << 18;
/// How often budgets that are whole again are dropped.
pub const BUDGETS_SWEEP: Duration = Duration::from_secs(10);

// --- idempotency ---

/// How long a key is remembered; an older one is refused.
pub const KEY_WINDOW: Duration = Duration::from_hours(7 * 24);
/// A key from further ahead is refused: its maker's clock is wrong.
pub const KEY_AHEAD_MAX: Duration = Duration::from_mins(5);

// --- reading ---

/// Most rows of a history page.
pub const PAGE_ROWS_MAX: usize = 100;
/// Most bytes of events on a history page.
pub const PAGE_BYTES_MAX: usize = 256 * 1024;
/// No setting of it goes below.
pub const PAGE_BYTES_FLOOR: usize = 64 * 1024;
/// Most bytes of events that answer a resume; the rest is `behind`.
pub const RESUME_BYTES_MAX: usize = 256 * 1024;
/// Most channels of a resume frame.
pub const RESUME_CURSORS_PER_FRAME_MAX: usize = 4_096;
/// Store reads of resumes at once, per shard.
pub const RESUME_READS_MAX: usize = 64;

// --- logging in ---

/// A TLS handshake must be over after this long.
pub const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(5);
/// A valid Hello must have come after this long.
pub const LOGIN_TIME_MAX: Duration = Duration::from_secs(10);
/// Steps of logins between two turns of a shard: a connection taken in, half a handshake, a token's
/// signature. Of 25 to 150 us each; so many are half of what a full turn takes.
pub const LOGIN_STEPS_PER_TURN: usize = 8;
/// A login that meets a revocation is looked up again, so often at most.
pub const LOGIN_LOOKS_MAX: usize = 8;
/// A revocation is confirmed by the person's home shard within this, or its outcome is unknown.
pub const REVOKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Of all connections, one in this many may be not yet logged in.
pub const UNAUTHENTICATED_SHARE: usize = 10;
/// Of those, one in this many may come from a single address.
pub const UNAUTHENTICATED_ADDRESS_SHARE: usize = 8;
/// Failed handshakes from one address, per shard; loopback is exempt.
pub const FAILED_HANDSHAKES_PER_ADDRESS: Rate = Rate { per_second: 200, burst: 2_000 };
/// Addresses whose failed handshakes are kept count of, per shard.
pub const FAILING_ADDRESSES_MAX: usize = 1 << 14;
/// Longest header of the PROXY protocol, bytes; it must have come within a handshake's time.
pub const PROXY_HEADER_BYTES_MAX: usize = 536;
/// Longest token, bytes. Hello has room for it beside everything else.
pub const TOKEN_BYTES_MAX: usize = 2_048;
/// Longest file or answer with keys of issuers, bytes.
pub const TOKEN_KEYS_BYTES_MAX: usize = 64 * 1024;
/// Most keys of one file or answer.
pub const TOKEN_KEYS_MAX: usize = 32;
/// Most keys that one token is tried with: one that names its key is tried with that alone.
pub const TOKEN_TRIES_MAX: usize = 8;
/// How often keys are fetched from where their issuer publishes them.
pub const TOKEN_KEYS_EVERY: Duration = Duration::from_mins(10);
/// How long after a fetch the next one may begin, whatever asks for it.
pub const TOKEN_KEYS_AT_LEAST: Duration = Duration::from_mins(1);
/// How long fetched keys count when no newer ones can be had.
pub const TOKEN_KEYS_KEPT: Duration = Duration::from_hours(24);
/// Longest time of one fetch.
pub const TOKEN_KEYS_TIME_MAX: Duration = Duration::from_secs(5);
/// How long before its token ends a session is told, or when a tenth of the time is left.
pub const TOKEN_WARNING_MAX: Duration = Duration::from_secs(60);
/// How far a token's maker's clock may be off.
pub const TOKEN_SKEW_MAX: Duration = Duration::from_secs(60);

// --- liveness ---

/// A silent connection is probed after this long.
pub const PING_AFTER: Duration = Duration::from_secs(60);
/// A silent connection is closed after this long.
pub const IDLE_MAX: Duration = Duration::from_secs(150);
/// A connection whose socket took nothing for this long is cut.
pub const STALLED_MAX: Duration = Duration::from_secs(30);
/// A shard whose oldest unsent event is older stops reading from senders.
pub const UNSENT_AGE_MAX: Duration = Duration::from_millis(50);

/// Unsent events of one channel on one shard, bytes; members who need older ones read history.
pub const CHANNEL_LOG_BYTES_MAX: usize = 256 * 1024;
/// Of those, kept for members whose socket is full, bytes.
pub const HELD_LOG_BYTES_MAX: usize = 16 * 1024;
/// Unsent events of all channels of a shard, bytes.
pub const SHARD_LOG_BYTES_MAX: usize = 64 * 1024 * 1024;

// --- the process ---

/// Descriptors kept for stores and files: this many, or a quarter of all if that is less.
pub const DESCRIPTOR_RESERVE_MAX: u64 = 1_500;
/// From SIGTERM to exit. Supervisors lose patience after 30 s, mostly.
pub const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(25);
/// No setting of it goes below.
pub const SHUTDOWN_TIME_FLOOR: Duration = Duration::from_secs(5);

// --- how much may wait, and for how long ---

/// Works that wait in one channel; more are refused as overloaded.
pub const CHANNEL_WAITING_MAX: usize = 1_024;
/// Works that wait in all channels of one shard; more messages are refused as overloaded. Of the
/// largest kind, so many are 256 MiB.
pub const SHARD_WAITING_MAX: usize = 16_384;
/// A work that has been waiting for longer is late.
pub const WAITING_AGE_MAX: Duration = Duration::from_millis(100);
/// Where something late has been waiting for so long, new messages are refused as overloaded.
pub const WAITING_LATE_MAX: Duration = Duration::from_secs(1);
/// Channels at work on one shard.
pub const OWNED_CHANNELS_MAX: usize = 200_000;
/// A channel at which nothing happened for this long is dropped from memory.
pub const OWNED_CHANNEL_IDLE: Duration = Duration::from_secs(60);
/// Keys younger than this are read when a channel is opened; older ones when they are asked for.
pub const KEYS_AT_OPEN: Duration = Duration::from_secs(60);
/// Letters that wait for one shard.
pub const MAILBOX_MAX: usize = 1 << 18;
/// Connections on their way to one shard.
pub const HANDOVERS_MAX: usize = 4_096;
/// Threads for blocking work, and jobs that wait for them.
pub const DOOR_THREADS: usize = 4;
/// Jobs that wait for a thread; more are refused as overloaded.
pub const DOOR_WAITING_MAX: usize = 16_384;
/// When to try again what was refused because too much waits.
pub const OVERLOADED_RETRY: Duration = Duration::from_millis(500);
/// When to try again what was refused because a store takes no writes.
pub const UNAVAILABLE_RETRY: Duration = Duration::from_secs(1);
/// Rows of the outbox read at once.
pub const OUTBOX_PAGE: usize = 256;

// --- coming back ---

/// Keys of unanswered sends that one resume, or one request, may ask about.
pub const OUTCOMES_MAX: usize = 256;
/// Keys of unanswered sends that all frames of one resume may ask about.
pub const RESUME_PENDING_MAX: usize = 4 * OUTCOMES_MAX;
/// Channels that one resume may name: all of a person's, those since left, and their own log.
pub const RESUME_CHANNELS_MAX: usize = 2 * RESUME_CURSORS_PER_FRAME_MAX;
/// A channel that misses more events than this is told `behind` and read from history.
pub const TAIL_EVENTS_MAX: u64 = 1_000;
/// Newest events of a channel that the device does not know yet.
pub const NEW_TAIL_EVENTS: u64 = 20;
/// One chunk of the bulk lane, bytes.
pub const BULK_CHUNK_BYTES: usize = 32 * 1024;

// --- stopping ---

/// Clients are told to come back after a time of their own within this.
pub const DRAIN_SPREAD: Duration = Duration::from_secs(10);
/// Of the time to stop, one part in this many is for committing and answering what is on its way.
pub const DRAIN_COMMIT_SHARE: u32 = 5;
/// Of the time to stop, so many such parts are for writing the last frames; the stores close in
/// what is left.
pub const DRAIN_FLUSH_PARTS: u32 = 2;

/// The limits that an operator may set. The constants above are the defaults, and what is not here
/// stays as it is: it is part of the protocol, of what is on disk, or of what was measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// See [`CHANNELS_PER_USER_MAX`]. Who has more already keeps them.
    pub channels_per_user: usize,
    /// See [`GROUP_MEMBERS_MAX`]. Groups that are larger already stay.
    pub group_members: usize,
    /// See [`BROADCAST_MEMBERS_MAX`]. Broadcasts that are larger already stay.
    pub broadcast_members: usize,
    /// See [`MEMBERS_PER_COMMAND_MAX`].
    pub members_per_command: usize,
    /// See [`CONNECTIONS_PER_USER_MAX`].
    pub connections_per_user: usize,
    /// See [`PAGE_ROWS_MAX`].
    pub page_rows: usize,
    /// See [`PAGE_BYTES_MAX`].
    pub page_bytes: usize,
    /// See [`RESUME_BYTES_MAX`].
    pub resume_bytes: usize,
    /// See [`SENDS_PER_USER`].
    pub sends_per_user: Rate,
    /// See [`READS_PER_USER`].
    pub reads_per_user: Rate,
    /// See [`SENDS_PER_CHANNEL`].
    pub sends_per_channel: Rate,
    /// See [`HANDSHAKE_TIME_MAX`].
    pub handshake_time: Duration,
    /// See [`LOGIN_TIME_MAX`].
    pub login_time: Duration,
    /// See [`UNAUTHENTICATED_SHARE`]; at least 1.
    pub unauthenticated_share: usize,
    /// See [`UNAUTHENTICATED_ADDRESS_SHARE`]; at least 1.
    pub unauthenticated_address_share: usize,
    /// See [`PING_AFTER`].
    pub probe_after: Duration,
    /// See [`IDLE_MAX`].
    pub idle_limit: Duration,
    /// See [`STALLED_MAX`].
    pub stalled_time: Duration,
    /// See [`CHANNEL_LOG_BYTES_MAX`].
    pub channel_log_bytes: usize,
    /// See [`SHARD_LOG_BYTES_MAX`].
    pub shard_log_bytes: usize,
    /// See [`DRAIN_SPREAD`].
    pub drain_spread: Duration,
    /// See [`SHUTDOWN_TIME_MAX`].
    pub shutdown_time: Duration,
}

/// What must hold between two limits that an operator may set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// The maker and the first members are one group.
    FirstMembersFit,
    /// A resume can tell what a page can.
    ResumeHoldsAPage,
    /// A person at full rate does not fill a channel alone.
    NobodyFillsAChannel,
    /// The handshake is a part of the login.
    HandshakeWithinLogin,
    /// The probe comes before the close, with time for an answer.
    ProbeBeforeClose,
    /// A shard has room for one channel at least.
    ChannelLogFits,
}

impl Relation {
    /// Each of them.
    pub const ALL: [Self; 6] = [
        Self::FirstMembersFit,
        Self::ResumeHoldsAPage,
        Self::NobodyFillsAChannel,
        Self::HandshakeWithinLogin,
        Self::ProbeBeforeClose,
        Self::ChannelLogFits,
    ];
}

impl Limits {
    /// The limits of a server to which nobody said anything else.
    pub const DEFAULT: Self = Self {
        channels_per_user: CHANNELS_PER_USER_MAX,
        group_members: GROUP_MEMBERS_MAX,
        broadcast_members: BROADCAST_MEMBERS_MAX,
        members_per_command: MEMBERS_PER_COMMAND_MAX,
        connections_per_user: CONNECTIONS_PER_USER_MAX,
        page_rows: PAGE_ROWS_MAX,
        page_bytes: PAGE_BYTES_MAX,
        resume_bytes: RESUME_BYTES_MAX,
        sends_per_user: SENDS_PER_USER,
        reads_per_user: READS_PER_USER,
        sends_per_channel: SENDS_PER_CHANNEL,
        handshake_time: HANDSHAKE_TIME_MAX,
        login_time: LOGIN_TIME_MAX,
        unauthenticated_share: UNAUTHENTICATED_SHARE,
        unauthenticated_address_share: UNAUTHENTICATED_ADDRESS_SHARE,
        probe_after: PING_AFTER,
        idle_limit: IDLE_MAX,
        stalled_time: STALLED_MAX,
        channel_log_bytes: CHANNEL_LOG_BYTES_MAX,
        shard_log_bytes: SHARD_LOG_BYTES_MAX,
        drain_spread: DRAIN_SPREAD,
        shutdown_time: SHUTDOWN_TIME_MAX,
    };

    /// How often people may ask.
    pub const fn rates(&self) -> Rates {
        Rates {
            user_sends: self.sends_per_user,
            user_reads: self.reads_per_user,
            channel_sends: self.sends_per_channel,
        }
    }

    /// The same limits with these rates.
    #[must_use]
    pub const fn with_rates(self, rates: Rates) -> Self {
        let Rates { user_sends, user_reads, channel_sends } = rates;
        Self {
            sends_per_user: user_sends,
            reads_per_user: user_reads,
            sends_per_channel: channel_sends,
            ..self
        }
    }

    /// Whether this holds.
    pub const fn keep(&self, relation: Relation) -> bool {
        match relation {
            Relation::FirstMembersFit => self.members_per_command < self.group_members,
            Relation::ResumeHoldsAPage => self.resume_bytes >= self.page_bytes,
            Relation::NobodyFillsAChannel => {
                self.sends_per_user.per_second < self.sends_per_channel.per_second
            }
            Relation::HandshakeWithinLogin => {
                self.handshake_time.as_millis() < self.login_time.as_millis()
            }
            Relation::ProbeBeforeClose => {
                2 * self.probe_after.as_millis() <= self.idle_limit.as_millis()
            }
            Relation::ChannelLogFits => self.channel_log_bytes <= self.shard_log_bytes,
        }
    }

    const fn keep_all(&self) -> bool {
        let mut at = 0;
        while at < Relation::ALL.len() {
            if !self.keep(Relation::ALL[at]) {
                return false;
            }
            at += 1;
        }
        true
    }

    /// Of the time to stop: for committing and answering what is on its way.
    pub fn drain_commit(&self) -> Duration {
        self.shutdown_time / DRAIN_COMMIT_SHARE
    }

    /// Of the time to stop: for writing the last frames.
    pub fn drain_flush(&self) -> Duration {
        self.shutdown_time * DRAIN_FLUSH_PARTS / DRAIN_COMMIT_SHARE
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Bounds of all histograms of durations, seconds.
pub const SECONDS_BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0,
    2.0, 5.0, 10.0,
];

/// A duration as the protocol tells it.
pub fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// A duration in milliseconds, for comparing with the time of day.
pub const fn millis_long(duration: Duration) -> u64 {
    duration.as_secs() * 1_000 + duration.subsec_millis() as u64
}

// What the operator sets keeps what must hold, and so do the defaults.
const _: () = assert!(Limits::DEFAULT.keep_all());
// A page and a resume must be able to make progress: one event of the largest kind fits, with
// room for its other fields.
const _: () = assert!(PAGE_BYTES_FLOOR >= 2 * (TEXT_BYTES_MAX + 1_024));
const _: () = assert!(PAGE_BYTES_FLOOR <= PAGE_BYTES_MAX);
const _: () = assert!(SCARCE_PAGE_BYTES >= PAGE_BYTES_FLOOR);
// A device in use is never taken for one that was not seen.
const _: () = assert!(DEVICE_SEEN_GRAIN.as_secs() < DEVICE_UNSEEN_MAX.as_secs());
// A resume names all channels of a person, and those since left.
const _: () = assert!(CHANNELS_PER_USER_MAX <= CHANNELS_PER_USER_CEILING);
const _: () = assert!(CHANNELS_PER_USER_CEILING <= RESUME_CHANNELS_MAX);
// A key that may still be used is never pruned by a clock that is a little off.
const _: () = assert!(KEY_AHEAD_MAX.as_secs() < KEY_WINDOW.as_secs());
// Whoever is refused as overloaded comes back after what waited in front had its time.
const _: () = assert!(WAITING_AGE_MAX.as_millis() < OVERLOADED_RETRY.as_millis());
const _: () = assert!(CHANNEL_WAITING_MAX < SHARD_WAITING_MAX);
// A login that waits for keys is in time, unless it is given less.
const _: () = assert!(TOKEN_KEYS_TIME_MAX.as_secs() < LOGIN_TIME_MAX.as_secs());
// Hello is at most 4 KiB before login.
const _: () = assert!(TOKEN_BYTES_MAX <= 3 * 1_024);
// The stop keeps within its time, and there is enough of it for everybody to read the last frame.
const _: () = assert!(1 + DRAIN_FLUSH_PARTS < DRAIN_COMMIT_SHARE);
const _: () = assert!(SHUTDOWN_TIME_FLOOR.as_secs() <= SHUTDOWN_TIME_MAX.as_secs());
const _: () = assert!(
    FAREWELL.as_secs()
        < SHUTDOWN_TIME_FLOOR.as_secs() * DRAIN_FLUSH_PARTS as u64 / DRAIN_COMMIT_SHARE as u64
);
// Whoever keeps the rules can have a connection's worth of the largest requests on its way.
const _: () = assert!(
    PARTING_BYTES_MAX as u64
        > damso_proto::limits::REQUESTS_IN_FLIGHT_MAX as u64
            * damso_proto::limits::FRAME_BYTES_MAX as u64
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_relation_can_be_broken_and_the_others_hold() {
        let rate = |per_second| Rate { per_second, burst: 600 };
        let default = Limits::DEFAULT;
        for (relation, limits) in [
            (Relation::FirstMembersFit, Limits { members_per_command: 1_000, ..default }),
            (Relation::ResumeHoldsAPage, Limits { resume_bytes: PAGE_BYTES_MAX - 1, ..default }),
            (Relation::NobodyFillsAChannel, Limits { sends_per_channel: rate(20), ..default }),
            (Relation::HandshakeWithinLogin, Limits { login_time: HANDSHAKE_TIME_MAX, ..default }),
            (
                Relation::ProbeBeforeClose,
                Limits { idle_limit: 2 * PING_AFTER - FAREWELL, ..default },
            ),
            (Relation::ChannelLogFits, Limits { shard_log_bytes: 1, ..default }),
        ] {
            let broken: Vec<_> = Relation::ALL.into_iter().filter(|it| !limits.keep(*it)).collect();
            assert_eq!(broken, [relation]);
        }
    }

    #[test]
    fn the_stop_is_divided_and_some_of_it_is_left() {
        let limits = Limits::DEFAULT;
        assert_eq!(limits.drain_commit(), Duration::from_secs(5));
        assert_eq!(limits.drain_flush(), Duration::from_secs(10));
        let short = Limits { shutdown_time: SHUTDOWN_TIME_FLOOR, ..limits };
        assert!(short.drain_commit() + short.drain_flush() < short.shutdown_time);
        assert!(short.drain_flush() > FAREWELL);
    }
}
