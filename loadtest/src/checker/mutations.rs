//! Random histories of a correct server pass; one random lie in them does not.

use damso_proto::id::{ChannelNo, Key, MessageId, Seq, UserNo};
use proptest::prelude::*;

use super::{BodyHash, Checker, Content, Observation, ReceiverNo, Seen, SessionNo, Verdict};

const CHANNELS: usize = 3;
const PEOPLE: usize = 3;

/// What a correct run does next.
#[derive(Clone, Debug)]
enum Step {
    Send {
        sender: usize,
        channel: usize,
        fate: Fate,
    },
    /// A receiver takes some of what waits for it.
    Take {
        receiver: usize,
        channel: usize,
        events: usize,
    },
    /// A receiver's connection is lost; it resumes with its cursors.
    Reconnect {
        receiver: usize,
    },
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    Acked,
    Refused,
    /// Stored, but the answer is lost and the send repeated.
    Repeated,
    /// Never stored, never answered.
    Vanished,
}

fn step() -> impl Strategy<Value = Step> {
    let fate = prop_oneof![
        6 => Just(Fate::Acked),
        1 => Just(Fate::Refused),
        1 => Just(Fate::Repeated),
        1 => Just(Fate::Vanished),
    ];
    prop_oneof![
        4 => (0..PEOPLE, 0..CHANNELS, fate)
            .prop_map(|(sender, channel, fate)| Step::Send { sender, channel, fate }),
        4 => (0..PEOPLE, 0..CHANNELS, 1..5_usize)
            .prop_map(|(receiver, channel, events)| Step::Take { receiver, channel, events }),
        1 => (0..PEOPLE).prop_map(|receiver| Step::Reconnect { receiver }),
    ]
}

/// A correct server in a few lines: what it stores is what it tells.
#[derive(Default)]
struct Model {
    said: Vec<Observation>,
    logs: [Vec<Seen>; CHANNELS],
    taken: [[usize; CHANNELS]; PEOPLE],
    sessions: [u64; PEOPLE],
    sends: u64,
}

fn channel_no(channel: usize) -> ChannelNo {
    ChannelNo::new(2 * channel as u64 + 2)
}

impl Model {
    fn run(steps: &[Step]) -> Vec<Observation> {
        let mut model = Self::default();
        for receiver in 0..PEOPLE {
            model.step(&Step::Reconnect { receiver });
        }
        steps.iter().for_each(|step| model.step(step));
        for channel in 0..CHANNELS {
            for receiver in 0..PEOPLE {
                model.take(receiver, channel, usize::MAX);
                let (receiver, seq) = (ReceiverNo(receiver as u64), model.head(channel));
                model.said.push(Observation::MustReach {
                    receiver,
                    channel: channel_no(channel),
                    seq,
                });
            }
            let stored = model.logs[channel].iter().map(|seen| Observation::Stored { seen: *seen });
            model.said.extend(stored);
            let (channel, head) = (channel_no(channel), model.head(channel));
            model.said.push(Observation::ReadBack { channel, from: Seq::new(1), head });
        }
        model.said
    }

    fn head(&self, channel: usize) -> Seq {
        Seq::new(self.logs[channel].len() as u64)
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Send { sender, channel, fate } => self.send(sender, channel, fate),
            Step::Take { receiver, channel, events } => self.take(receiver, channel, events),
            Step::Reconnect { receiver } => {
                self.sessions[receiver] += 1;
                for channel in 0..CHANNELS {
                    self.said.push(Observation::Resumed {
                        receiver: ReceiverNo(receiver as u64),
                        session: SessionNo(self.sessions[receiver]),
                        channel: channel_no(channel),
                        cursor: Seq::new(self.taken[receiver][channel] as u64),
                    });
                }
            }
        }
    }

    fn send(&mut self, sender: usize, channel: usize, fate: Fate) {
        self.sends += 1;
        let number = self.sends;
        let key = Key::new(number, [7; 10]);
        let body = BodyHash::of_text(&number.to_string());
        let user = UserNo::new(sender as u64 + 1);
        let session = SessionNo(self.sessions[sender]);
        let at = channel_no(channel);
        let sent = Observation::Sent { sender: user, session, channel: at, key, body };
        self.said.push(sent);
        match fate {
            Fate::Refused => self.said.push(Observation::Refused { key }),
            Fate::Vanished => {}
            Fate::Acked | Fate::Repeated => {
                let (seq, id) = (self.head(channel).next(), MessageId::new(number * 4096));
                let content = Content::Message { sender: user, body };
                self.logs[channel].push(Seen { channel: at, seq, id, content });
                let duplicate = fate == Fate::Repeated;
                if duplicate {
                    self.said.extend([Observation::Doubtful { key }, sent]);
                }
                self.said.push(Observation::Acked { key, channel: at, seq, id, duplicate });
            }
        }
    }

    fn take(&mut self, receiver: usize, channel: usize, events: usize) {
        let from = self.taken[receiver][channel];
        let to = self.logs[channel].len().min(from.saturating_add(events));
        let session = SessionNo(self.sessions[receiver]);
        for seen in &self.logs[channel][from..to] {
            let receiver = ReceiverNo(receiver as u64);
            self.said.push(Observation::Received { receiver, session, seen: *seen });
        }
        self.taken[receiver][channel] = to;
    }
}

/// Changes one observation (or leaves it out) so that no correct server could have caused it.
/// `None`: this observation has no such lie.
fn lie(said: &[Observation], at: usize, choice: usize) -> Option<Vec<Observation>> {
    let mut said = said.to_vec();
    let changed = |seen: Seen| match choice % 4 {
        0 => Seen { id: MessageId::new(seen.id.get() + 1), ..seen },
        1 => Seen { seq: seen.seq.next(), ..seen },
        2 => Seen { content: Content::Other(BodyHash::of_text("rot")), ..seen },
        _ => Seen { channel: ChannelNo::new(seen.channel.get() + 2 * CHANNELS as u64), ..seen },
    };
    match said[at] {
        Observation::Stored { .. } | Observation::Received { .. } if choice % 5 == 4 => {
            said.remove(at);
        }
        Observation::Received { .. } if choice % 6 == 5 => said.insert(at, said[at]),
        Observation::Stored { ref mut seen } | Observation::Received { ref mut seen, .. } => {
            *seen = changed(*seen);
        }
        Observation::Acked { ref mut seq, ref mut id, .. } => match choice % 2 {
            0 => *seq = seq.next(),
            _ => *id = MessageId::new(id.get() + 1),
        },
        // What a device had before the run is believed.
        Observation::Resumed { session: SessionNo(1), .. } => return None,
        Observation::Resumed { ref mut cursor, .. } => *cursor = Seq::new(cursor.get() + 1_000),
        Observation::ReadBack { ref mut head, .. } => match head.get() {
            0 => *head = Seq::new(1),
            stored if choice.is_multiple_of(2) => *head = Seq::new(stored - 1),
            stored => *head = Seq::new(stored + 1),
        },
        Observation::Sent { .. } | Observation::MustReach { .. } => return None,
        Observation::MustStart { .. } => return None,
        Observation::Refused { .. } | Observation::Doubtful { .. } => return None,
        Observation::Skipped { .. } | Observation::Removed { .. } => return None,
    }
    Some(said)
}

fn judge(said: &[Observation]) -> Verdict {
    let mut checker = Checker::new(3);
    said.iter().for_each(|observation| checker.observe(*observation));
    checker.finish()
}

proptest! {
    #[test]
    fn a_correct_run_passes(steps in prop::collection::vec(step(), 0..80)) {
        let verdict = judge(&Model::run(&steps));
        prop_assert!(verdict.passed(), "{verdict}");
    }

    #[test]
    fn one_lie_in_a_correct_run_is_found(
        steps in prop::collection::vec(step(), 1..40),
        at in any::<prop::sample::Index>(),
        choice in 0..60_usize,
    ) {
        let said = Model::run(&steps);
        let at = at.index(said.len());
        if let Some(lies) = lie(&said, at, choice) {
            let verdict = judge(&lies);
            prop_assert!(!verdict.passed(), "{:?} became {:?}", said[at], lies.get(at));
        }
    }
}
