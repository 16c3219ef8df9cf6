//! The promises, and what a run says about them.

use std::collections::BTreeMap;
use std::fmt;

use damso_proto::id::{ChannelNo, Seq, UserNo};

use super::{ReceiverNo, SessionNo};

/// A promise. Its text says what was found where it is broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Law {
    /// Every acknowledged send is in history at the acknowledged place.
    Lost,
    /// Nobody has seen what history lacks.
    Vanished,
    /// One key, one event.
    StoredTwice,
    /// Seqs are dense from 1.
    HistoryHole,
    /// Ids rise with seq within a channel.
    IdOrder,
    /// No two events share an id, in whichever channel.
    IdShared,
    /// Everyone sees the same at the same place.
    Diverged,
    /// A receiver misses nothing on its way.
    ReceiverHole,
    /// A receiver sees nothing again.
    ReceiverRepeat,
    /// A receiver comes as far as it must.
    NotReached,
    /// A removed person receives nothing later.
    AfterRemoval,
    /// Nothing appears that nobody sent.
    Unsent,
    /// What was refused is not stored.
    RefusedStored,
    /// A message sent after another was acknowledged stands behind it.
    RealTime,
    /// A sender's messages keep the order in which one session sent them.
    SenderOrder,
    /// A key has one answer.
    AckChanged,
    /// Only what was sent is acknowledged.
    AckUnasked,
    /// A key is called known only if it was sent before.
    FalseDuplicate,
    /// The observer's own duty: no two sends of one sender to one channel look the same.
    SameBody,
}

impl Law {
    /// What was found.
    pub const fn found(self) -> &'static str {
        match self {
            Self::Lost => "acknowledged, but not in history",
            Self::Vanished => "seen by somebody, but not in history",
            Self::StoredTwice => "one key stored at two places",
            Self::HistoryHole => "seqs missing in history",
            Self::IdOrder => "id not above the one before it",
            Self::IdShared => "two events with one id",
            Self::Diverged => "two contents or ids at one place",
            Self::ReceiverHole => "a receiver was not given seqs that come before this one",
            Self::ReceiverRepeat => "a receiver was given something again",
            Self::NotReached => "a receiver did not come this far",
            Self::AfterRemoval => "a removed person received it",
            Self::Unsent => "nobody sent it",
            Self::RefusedStored => "refused, and yet stored",
            Self::RealTime => "sent after a later one was acknowledged",
            Self::SenderOrder => "a session's sends changed their order",
            Self::AckChanged => "a key was answered in two ways",
            Self::AckUnasked => "acknowledged, but never sent",
            Self::FalseDuplicate => "called a duplicate at its first attempt",
            Self::SameBody => "two sends that cannot be told apart (the observer's fault)",
        }
    }
}

/// Whose report broke the law.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// A sender, by its sends and their answers.
    Sender(UserNo, SessionNo),
    /// A receiver, in a session.
    Receiver(ReceiverNo, SessionNo),
    /// The reader of history.
    History,
    /// An acknowledgement.
    Ack,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sender(user, session) => write!(f, "sender {user} session {}", session.0),
            Self::Receiver(receiver, session) => {
                write!(f, "receiver {} session {}", receiver.0, session.0)
            }
            Self::History => f.write_str("history"),
            Self::Ack => f.write_str("ack"),
        }
    }
}

/// One place where a law is broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Witness {
    /// Which law.
    pub law: Law,
    /// In which log.
    pub channel: ChannelNo,
    /// Where in it.
    pub seq: Seq,
    /// By whose report.
    pub who: Who,
    /// What stood against what.
    pub detail: String,
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { law, channel, seq, who, detail } = self;
        write!(f, "{law:?}: channel {channel} seq {seq} ({who}): {}; {detail}", law.found())
    }
}

/// How much was looked at: a verdict over nothing is worth nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Counts {
    /// Different keys sent.
    pub sends: u64,
    /// Repetitions of them.
    pub repeats: u64,
    /// Keys acknowledged.
    pub acked: u64,
    /// Keys whose last word was a refusal.
    pub refused: u64,
    /// Keys of unknown outcome, or never answered.
    pub unanswered: u64,
    /// Deliveries.
    pub received: u64,
    /// Resumed (session, channel) pairs.
    pub resumed: u64,
    /// Seqs that receivers were told not to expect.
    pub skipped: u64,
    /// Events read back, repeated readings included.
    pub stored: u64,
    /// Channels seen at all.
    pub channels: u64,
    /// Channels with acknowledged sends whose history was never read in full: not judged for loss.
    pub channels_unread: u64,
}

/// What a run says.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What was looked at.
    pub counts: Counts,
    /// How often each broken law was broken.
    pub violations: BTreeMap<Law, u64>,
    /// The first few places of each.
    pub witnesses: Vec<Witness>,
}

impl Verdict {
    /// No law was broken.
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }

    /// How often this law was broken.
    pub fn count(&self, law: Law) -> u64 {
        self.violations.get(&law).copied().unwrap_or(0)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            sends,
            repeats,
            acked,
            refused,
            unanswered,
            received,
            resumed,
            skipped,
            stored,
            channels,
            channels_unread,
        } = self.counts;
        writeln!(
            f,
            "{sends} sends ({repeats} repeats): {acked} acked, {refused} refused, {unanswered} \
             unanswered; {received} received, {resumed} resumed, {skipped} skipped; {stored} read \
             back; {channels} channels, {channels_unread} not read back"
        )?;
        if self.passed() {
            return writeln!(f, "no law broken");
        }
        for (law, count) in &self.violations {
            writeln!(f, "BROKEN {law:?} x {count}: {}", law.found())?;
        }
        self.witnesses.iter().try_for_each(|witness| writeln!(f, "  {witness}"))
    }
}

/// Collects violations; keeps the first few of each law.
#[derive(Debug)]
pub(super) struct Findings {
    per_law_max: usize,
    violations: BTreeMap<Law, u64>,
    witnesses: Vec<Witness>,
}

impl Findings {
    pub(super) fn new(per_law_max: usize) -> Self {
        Self { per_law_max, violations: BTreeMap::new(), witnesses: Vec::new() }
    }

    /// Counts a violation; `detail` is asked for only while the law still lacks witnesses.
    pub(super) fn add(
        &mut self,
        law: Law,
        (channel, seq): (u64, u64),
        who: Who,
        detail: impl FnOnce() -> String,
    ) {
        let count = self.violations.entry(law).or_default();
        *count += 1;
        if *count <= self.per_law_max as u64 {
            let (channel, seq) = (ChannelNo::new(channel), Seq::new(seq));
            self.witnesses.push(Witness { law, channel, seq, who, detail: detail() });
        }
    }

    pub(super) fn verdict(self, counts: Counts) -> Verdict {
        Verdict { counts, violations: self.violations, witnesses: self.witnesses }
    }
}
