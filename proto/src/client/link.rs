//! Whether there is a connection, and when to try the next one.
//!
//! ```text
//! waiting --due--> connecting --socket--> up(ClientConn): authenticating, syncing, online
//!    ^_________________/___________________/  lost, refused, closing
//! signed out: the only end
//! ```

use std::time::Duration;

use super::backoff::{Backoff, Random};
use super::conn::ClientConn;
use crate::time::Moment;
use crate::wire;

/// A connection that lived this long was a healthy one: the next retry is a first one.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// Alternates that are remembered of a Welcome.
const ALTERNATES_MAX: usize = 8;
/// Longest wait that a server can ask for.
const ASKED_MAX: Duration = Duration::from_secs(3_600);

/// What a person sees of the connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// A connection is being made.
    Connecting,
    /// Hello is sent.
    Authenticating,
    /// Logged in; what was missed is coming.
    Syncing,
    /// Logged in and up to date.
    Online,
    /// Not connected; the next attempt comes at `retry_at`.
    Backoff {
        /// Attempts since it last worked.
        attempt: u32,
        /// When the next one begins.
        retry_at: Moment,
        /// Why the last one ended.
        why: String,
    },
    /// It is over until someone does something about it.
    SignedOut(SignedOut),
}

/// Why a client stopped trying.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SignedOut {
    /// The server wants another login, or none: its close code and its words.
    Closed {
        /// The close code.
        code: u32,
        /// For logs.
        text: String,
    },
    /// The login is of another person than the snapshot.
    OtherPerson,
    /// The app closed the client.
    ByApp,
}

/// The connection, or what is there instead.
#[derive(Debug)]
pub(super) enum Link {
    Waiting { until: Moment },
    Connecting,
    Up(ClientConn),
    SignedOut(SignedOut),
}

/// Decides when and where to connect.
#[derive(Debug)]
pub(super) struct Dial {
    pub(super) link: Link,
    backoff: Backoff,
    online_since: Option<Moment>,
    /// Where the server said to go next.
    redirect: Option<String>,
    alternates: Vec<String>,
    attempts_here: usize,
    /// The server asked not to come back earlier.
    asked_until: Moment,
    why: String,
}

impl Dial {
    pub(super) fn new() -> Self {
        Self {
            link: Link::Waiting { until: Moment::default() },
            backoff: Backoff::default(),
            online_since: None,
            redirect: None,
            alternates: Vec::new(),
            attempts_here: 0,
            asked_until: Moment::default(),
            why: String::new(),
        }
    }

    /// Whether to connect now, and where: `Some(None)` is the address of the connection string.
    pub(super) fn next(&mut self, now: Moment) -> Option<Option<String>> {
        match self.link {
            Link::Waiting { until } if now >= until => self.link = Link::Connecting,
            _ => return None,
        }
        let redirect = self.redirect.take();
        let turn = self.attempts_here % (self.alternates.len() + 1);
        self.attempts_here = self.attempts_here.wrapping_add(1);
        Some(redirect.or_else(|| self.alternates.get(turn.wrapping_sub(1)).cloned()))
    }

    /// The connection is gone, or could not be made.
    pub(super) fn lost(&mut self, why: String, asked: Duration, now: Moment, random: &mut Random) {
        if matches!(self.link, Link::SignedOut(_)) {
            return;
        }
        let healthy = self.online_since.take().is_some_and(|at| now.since(at) >= HEALTHY_AFTER);
        if healthy {
            self.backoff.reset();
        }
        let asked = asked.min(ASKED_MAX);
        let delay = self.backoff.delay_asked(asked, random);
        self.asked_until = if asked.is_zero() { now } else { now.plus(delay) };
        self.why = why;
        self.link = Link::Waiting { until: now.plus(delay) };
    }

    /// The server said where to go next.
    pub(super) fn redirect(&mut self, address: String) {
        self.redirect = (!address.is_empty()).then_some(address);
    }

    pub(super) fn welcome(&mut self, welcome: &wire::Welcome) {
        self.alternates = welcome.alternates.iter().take(ALTERNATES_MAX).cloned().collect();
        self.attempts_here = 0;
    }

    pub(super) fn online(&mut self, now: Moment) {
        self.online_since = Some(now);
    }

    /// Something suggests that it works again: no need to wait longer than the server asked.
    pub(super) fn hurry(&mut self, now: Moment) {
        if let Link::Waiting { until } = &mut self.link {
            *until = now.max(self.asked_until);
            self.backoff.reset();
        }
    }

    pub(super) fn sign_out(&mut self, why: SignedOut) {
        self.link = Link::SignedOut(why);
    }

    pub(super) fn state(&self) -> State {
        match &self.link {
            Link::Waiting { .. } if self.backoff.attempts() == 0 => State::Connecting,
            Link::Waiting { until } => State::Backoff {
                attempt: self.backoff.attempts(),
                retry_at: *until,
                why: self.why.clone(),
            },
            Link::Connecting => State::Connecting,
            Link::Up(conn) if conn.is_open() => State::Online,
            Link::Up(conn) if conn.is_welcome() => State::Syncing,
            Link::Up(_) => State::Authenticating,
            Link::SignedOut(why) => State::SignedOut(why.clone()),
        }
    }
}
