//! What everybody saw: the checker, and what a test waits for.

use std::collections::{HashMap, HashSet};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use damso_client::{ChannelNo, Client, Content, Event, Key, Seq, Stored, Update};
use damso_loadtest::checker::{
    BodyHash, Checker, Content as Said, Observation, ReceiverNo, Seen, SessionNo,
};

/// How many people there are.
pub(crate) const PEOPLE: usize = 20;
/// What takes longer is broken.
pub(crate) const PHASE_MAX: Duration = Duration::from_secs(60);
/// Places named per broken law.
const WITNESSES_MAX: usize = 5;

/// What all observers report to. The test and the fleet take the lock for one report or one look.
pub(crate) struct World {
    inner: Mutex<Inner>,
    pub(crate) changed: Condvar,
}

/// See [`World`].
pub(crate) struct Inner {
    pub(crate) checker: Checker,
    /// What the checker has no law for.
    pub(crate) wrong: Vec<String>,
    /// Rises when the server is about to be killed and when it is dead: what was without an
    /// answer across a rise may have gone out twice.
    pub(crate) kills: u64,
    pub(crate) sending: bool,
    pub(crate) serving: bool,
    pub(crate) unanswered: HashMap<Key, Observation>,
    /// Sends of devices that were thrown away.
    pub(crate) abandoned: u64,
    /// Answers that name an earlier attempt.
    pub(crate) known: u64,
    pub(crate) acked: u64,
    /// Texts that came, and where: two places are a duplicate.
    places: HashMap<(ChannelNo, BodyHash), Seq>,
    pub(crate) twice: u64,
    pub(crate) acked_since: HashSet<usize>,
    pub(crate) devices: Vec<Device>,
    /// Present clients.
    pub(crate) clients: Vec<Client>,
    next_number: u64,
}

/// One person's present device.
#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) receiver: ReceiverNo,
    pub(crate) reached: HashMap<ChannelNo, Seq>,
}

impl World {
    pub(crate) fn new() -> Self {
        let device = Device { receiver: ReceiverNo(0), reached: HashMap::new() };
        let inner = Inner {
            checker: Checker::new(WITNESSES_MAX),
            wrong: Vec::new(),
            kills: 0,
            sending: false,
            serving: true,
            unanswered: HashMap::new(),
            abandoned: 0,
            known: 0,
            acked: 0,
            places: HashMap::new(),
            twice: 0,
            acked_since: HashSet::new(),
            devices: vec![device; PEOPLE],
            clients: Vec::new(),
            next_number: 0,
        };
        Self { inner: Mutex::new(inner), changed: Condvar::new() }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no observer panics")
    }

    /// Waits until `is_so`. `false`: it took too long.
    pub(crate) fn wait(&self, mut is_so: impl FnMut(&Inner) -> bool) -> bool {
        let inner = self.lock();
        let waiting = |inner: &mut Inner| !is_so(inner);
        let waited = self.changed.wait_timeout_while(inner, PHASE_MAX, waiting);
        let (inner, late) = waited.expect("no observer panics");
        drop(inner);
        !late.timed_out()
    }
}

impl Inner {
    pub(crate) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// How everybody stands, for whoever waited in vain.
    pub(crate) fn stuck(&self) -> String {
        let states = self.clients.iter().map(|client| {
            format!("{:?}, {} unsent", *client.state().borrow(), client.unsent_count())
        });
        let lines: Vec<_> = self.wrong.iter().cloned().chain(states).collect();
        lines.join("\n")
    }

    pub(crate) fn acked(
        &mut self,
        person: usize,
        key: Key,
        sent: Observation,
        kills: u64,
        stored: Stored,
    ) {
        if self.kills != kills {
            self.checker.observe(sent);
        }
        let Observation::Sent { channel, .. } = sent else { return };
        let Stored { seq, id, duplicate, .. } = stored;
        self.checker.observe(Observation::Acked { key, channel, seq, id, duplicate });
        self.unanswered.remove(&key);
        self.acked += 1;
        self.known += u64::from(duplicate);
        self.acked_since.insert(person);
    }

    pub(crate) fn updated(&mut self, person: usize, session: SessionNo, update: &Update) {
        let receiver = self.devices[person].receiver;
        match update {
            Update::Event(event) => {
                let seen = seen(event);
                self.checker.observe(Observation::Received { receiver, session, seen });
                self.devices[person].reached.insert(event.channel, event.seq);
                if let Said::Message { body, .. } = seen.content {
                    let place = self.places.entry((event.channel, body)).or_insert(event.seq);
                    self.twice += u64::from(*place != event.seq);
                }
            }
            Update::Skipped { channel, to, .. } => {
                let (channel, to) = (*channel, *to);
                self.checker.observe(Observation::Skipped { receiver, channel, to });
                self.wrong.push(format!("person {person}: {update:?}"));
            }
            Update::RolledBack { .. } | Update::Gone { .. } => {
                self.wrong.push(format!("person {person}: {update:?}"));
            }
        }
    }
}

/// What the checker is told of an event.
pub(crate) fn seen(event: &Event) -> Seen {
    let Event { channel, seq, id, sender, .. } = *event;
    let content = match &event.content {
        Content::Text(text) => Said::Message { sender, body: BodyHash::of_text(text) },
        other => Said::Other(BodyHash::of_text(&format!("{other:?}"))),
    };
    Seen { channel, seq, id, content }
}
