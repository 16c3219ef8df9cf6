//! A protocol as the harness sees it, so that one engine, one schedule and one check serve every
//! server alike.
//!
//! ```text
//! worker: sockets, TLS, schedule, figures, tally      driver: bytes <-> what they mean
//!   log_in, take_step, send, page, tick  ---- out: bytes to write ---->
//!   hear(bytes that came in)             <--- told: what they say -----
//! ```
//!
//! A driver does no I/O and holds no clock. What a protocol cannot do is said by
//! [`Abilities`], and a run says `n/a` for it: nothing is made up.

pub mod damso; // damso's own
pub mod mqtt; //  MQTT 3.1.1

use crate::engine::payload::{Payload, Read, Tag};
use crate::engine::target::{Target, TargetError};
use crate::scenario::layout::Layout;

/// What a driver is made of.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Marks the run.
    pub run: u64,
    /// Which worker this is, from 0.
    pub worker: u32,
    /// Who is in which channel.
    pub layout: Layout,
    /// Keep the books of a history checker, if the protocol has what it needs.
    pub check: bool,
}

/// What a protocol can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Abilities {
    /// Sends are acknowledged.
    pub acks: bool,
    /// History can be read in pages, and read back as a whole.
    pub history: bool,
    /// A connection that comes back is given what it missed.
    pub resume: bool,
}

/// How a message came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// As it happened.
    Live,
    /// Missed, and given later: with a resume, or from history.
    CaughtUp,
    /// Live, though a later one came before it.
    Late,
}

/// What came in on a connection.
#[derive(Clone, Debug)]
pub enum Told {
    /// Logged in, and everything missed has come: what comes now is live.
    Live,
    /// A message.
    Message {
        /// The channel's number in the layout.
        channel: u32,
        /// Its position there, if the target numbers messages.
        seq: Option<u64>,
        /// What it carries.
        body: Read,
        /// How it came.
        how: How,
    },
    /// A send was taken.
    Acked(Tag),
    /// A send, or a page, was refused.
    Refused {
        /// Which.
        tag: Tag,
        /// The target's code.
        code: u32,
        /// When to try again, milliseconds; 0: it does not say.
        after_ms: u32,
    },
    /// A page of history, whole.
    Page {
        /// Whose.
        tag: Tag,
        /// Rows on it.
        rows: u32,
        /// Where the next page begins. `None`: there is none.
        next: Option<u64>,
    },
    /// A step of the set-up was answered.
    Settled,
    /// A part of a channel was read back.
    ReadBack {
        /// The channel's number in the layout.
        channel: u32,
        /// Rows in it.
        rows: u32,
        /// Where the next part begins. `None`: it was the last.
        next: Option<u64>,
    },
    /// The target ends the connection.
    Closing {
        /// Its code.
        code: u32,
        /// When to come back, at the earliest.
        after_ms: u32,
        /// It names another address.
        elsewhere: bool,
    },
    /// The target refuses what the run needs.
    Unusable(String),
}

/// The connection is of no more use; the text says why.
#[derive(thiserror::Error, Debug)]
#[error("{0}")]
pub struct Broken(pub String);

/// What the checker of a driver's own laws says.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Broken laws, and how often.
    pub laws: std::collections::BTreeMap<String, u64>,
    /// The whole, as text.
    pub text: String,
}

/// One protocol. One value serves all connections of a worker.
pub trait Driver {
    /// What it keeps of one connection.
    type Talk;

    /// What the protocol can do.
    fn abilities(&self) -> Abilities;
    /// Where to connect, and how.
    fn target(&self) -> &Target;
    /// The target is elsewhere from now on, with everything that it had.
    fn move_to(&mut self, target: Target);

    /// The transport stands: who this is, and what it has. The connection was there before if it
    /// was [`gone`](Self::gone).
    fn log_in(&mut self, conn: u32, now_ns: u64, out: &mut Vec<u8>) -> Self::Talk;
    /// Takes in all of `input`, puts answers into `out`, and tells what it says.
    ///
    /// # Errors
    /// [`Broken`]: the target closed, or broke the protocol.
    fn hear(
        &mut self,
        conn: u32,
        talk: &mut Self::Talk,
        input: &[u8],
        now_ns: u64,
        out: &mut Vec<u8>,
        told: &mut Vec<Told>,
    ) -> Result<(), Broken>;
    /// Does what is due, such as keeping the connection alive. Called every few seconds.
    ///
    /// # Errors
    /// [`Broken`]: the target has been silent for too long.
    fn tick(
        &mut self,
        conn: u32,
        talk: &mut Self::Talk,
        now_ns: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), Broken>;
    /// The connection is no more.
    fn gone(&mut self, conn: u32, talk: Self::Talk);

    /// The connection that the next step of the set-up is for; asked again, the same one, until the
    /// step is taken. `None`: nothing is left, or everything that is left waits for an answer. How
    /// many steps are under way at once is the worker's to bound.
    fn next_step(&mut self) -> Option<u32>;
    /// Takes that step; [`Told::Settled`] answers it.
    fn take_step(&mut self, conn: u32, talk: &mut Self::Talk, now_ns: u64, out: &mut Vec<u8>);
    /// Everyone has learnt of all their channels once, as far as the protocol tells.
    fn settled(&self) -> bool;

    /// Sends `payload`, filled up to `bytes`, to a channel; [`Told::Acked`] or [`Told::Refused`]
    /// answers it, if the protocol does.
    #[allow(clippy::too_many_arguments)]
    fn send(
        &mut self,
        conn: u32,
        talk: &mut Self::Talk,
        channel: u32,
        payload: &Payload,
        bytes: usize,
        now_ns: u64,
        out: &mut Vec<u8>,
    );
    /// Never called without [`Abilities::history`]. Asks for the page of `rows` that ends before `before` (`None`: the newest);
    /// [`Told::Page`] answers it.
    #[allow(clippy::too_many_arguments)]
    fn page(
        &mut self,
        conn: u32,
        talk: &mut Self::Talk,
        channel: u32,
        before: Option<u64>,
        rows: u32,
        tag: Tag,
        now_ns: u64,
        out: &mut Vec<u8>,
    );

    /// Never called without [`Abilities::history`]. Asks for what stands in a channel behind `after`, for the checker; [`Told::ReadBack`]
    /// answers it.
    fn read_back(
        &mut self,
        conn: u32,
        talk: &mut Self::Talk,
        channel: u32,
        after: u64,
        now_ns: u64,
        out: &mut Vec<u8>,
    );
    /// Judges what this protocol promises beyond the tally of deliveries. `live`: the connections
    /// that must have everything.
    fn check(&mut self, live: &[bool]) -> Checked;
}

/// Why a driver cannot be made.
#[derive(thiserror::Error, Debug)]
pub enum DriverError {
    /// The target cannot be used.
    #[error("{0}")]
    Target(#[from] TargetError),
}
