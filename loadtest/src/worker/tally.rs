//! Who got what: every delivery of every message of a phase, whatever the protocol.
//!
//! ```text
//! message  | intended | sent | channel | sender | missing | next by the same sender |
//! bits     one per member of its channel: this one has it
//! ```
//!
//! A delivery whose bit is set already is a repetition; a bit that is not set in the end is a loss;
//! one that comes when its sender's next message is there already is out of order, as is one that
//! the protocol itself calls late.

use crate::report::model::Witness;

/// No message.
const NONE: u32 = u32::MAX;
/// Places named per kind of wrong.
const WITNESSES: usize = 10;

/// One message.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// When it was meant to be sent, nanoseconds.
    pub intended_ns: u64,
    /// When it was.
    pub sent_ns: u64,
    /// Its channel in the layout.
    pub channel: u32,
    /// Members who are still to get it and whose time counts.
    missing: u32,
    /// The next message of the same sender in the same channel.
    next: u32,
    answer: Answer,
    /// Somebody got it by catching up, so its last delivery says nothing about speed.
    caught_up: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Answer {
    None,
    Acked,
    /// Surely or possibly not stored: nothing is expected of it.
    Refused,
}

/// What a delivery is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// The member had not had it. `last`: nobody whose time counts is left without it.
    New {
        /// See above.
        last: bool,
    },
    /// The member had it.
    Again,
}

/// Counts of what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wrongs {
    /// Deliveries that never came.
    pub lost: u64,
    /// Deliveries that came again.
    pub duplicated: u64,
    /// Deliveries that came after a later one.
    pub reordered: u64,
    /// Deliveries that were damaged.
    pub corrupted: u64,
    /// The first places of each.
    pub witnesses: Vec<Witness>,
}

/// All messages of one stream in one phase.
#[derive(Debug)]
pub struct Tally {
    messages: Vec<Sent>,
    bits: Vec<u64>,
    /// Members of each channel of the stream, and words of `bits` that they take.
    members: u32,
    stride: usize,
    /// Deliveries still missing, and messages without an answer.
    outstanding: u64,
    unanswered: u64,
}

impl Tally {
    /// For channels of `members`, with room for `messages`.
    pub fn new(members: u32, messages: usize) -> Self {
        let stride = (members as usize).div_ceil(64);
        Self {
            messages: Vec::with_capacity(messages),
            bits: Vec::with_capacity(messages * stride),
            members,
            stride,
            outstanding: 0,
            unanswered: 0,
        }
    }

    /// A message leaves; its number. `counted`: members whose time counts. `previous`: the last
    /// message of the same sender in the same channel.
    pub fn send(
        &mut self,
        (intended_ns, sent_ns): (u64, u64),
        channel: u32,
        counted: u32,
        previous: Option<u32>,
    ) -> u32 {
        let number = self.messages.len() as u32;
        if let Some(previous) = previous.and_then(|at| self.messages.get_mut(at as usize)) {
            previous.next = number;
        }
        let answer = Answer::None;
        let sent = Sent {
            intended_ns,
            sent_ns,
            channel,
            missing: counted,
            next: NONE,
            answer,
            caught_up: false,
        };
        self.messages.push(sent);
        self.bits.resize(self.messages.len() * self.stride, 0);
        self.outstanding += u64::from(self.members);
        self.unanswered += 1;
        number
    }

    /// The message was taken. `None`: it has an answer already, or is none of ours.
    pub fn ack(&mut self, number: u32) -> Option<Sent> {
        let sent = self.messages.get_mut(number as usize)?;
        if sent.answer != Answer::None {
            return None;
        }
        sent.answer = Answer::Acked;
        self.unanswered -= 1;
        Some(*sent)
    }

    /// The message was refused: nobody is to get it. `None`: it has an answer already, or is none
    /// of ours.
    pub fn refuse(&mut self, number: u32) -> Option<Sent> {
        let sent = self.messages.get_mut(number as usize)?;
        if sent.answer != Answer::None {
            return None;
        }
        sent.answer = Answer::Refused;
        let refused = *sent;
        self.unanswered -= 1;
        let had = self.count(number);
        self.outstanding -= u64::from(self.members - had);
        Some(refused)
    }

    /// Member `member` got message `number`. `counts`: its time does. `None`: no message of ours.
    pub fn deliver(
        &mut self,
        number: u32,
        member: u32,
        counts: bool,
        caught_up: bool,
    ) -> Option<(Sent, Delivery)> {
        let (word, bit) = self.bit(number, member)?;
        let sent = self.messages.get_mut(number as usize)?;
        if self.bits[word] & bit != 0 {
            return Some((*sent, Delivery::Again));
        }
        self.bits[word] |= bit;
        sent.caught_up |= caught_up && counts;
        if sent.answer != Answer::Refused {
            self.outstanding -= 1;
        }
        let mut last = false;
        if counts && sent.missing > 0 {
            sent.missing -= 1;
            last = sent.missing == 0;
        }
        Some((*sent, Delivery::New { last }))
    }

    /// Member `member` has the message that its sender sent after `number` in the channel.
    pub fn has_next(&self, number: u32, member: u32) -> bool {
        let next = self.messages.get(number as usize).map_or(NONE, |sent| sent.next);
        next != NONE && self.has(next, member)
    }

    /// Deliveries that are still missing, and messages without an answer.
    pub fn open(&self) -> (u64, u64) {
        (self.outstanding, self.unanswered)
    }

    /// Messages that everyone whose time counts got, and those that were not refused.
    pub fn complete(&self) -> (u64, u64) {
        let expected = self.messages.iter().filter(|sent| sent.answer != Answer::Refused);
        let complete = expected.clone().filter(|sent| sent.missing == 0);
        (complete.count() as u64, expected.count() as u64)
    }

    /// Calls `lost` with (message, member) of each delivery that never came of a message that was
    /// taken. Messages without an answer are doubtful: nobody can call them lost.
    pub fn lost(&self, mut lost: impl FnMut(u32, &Sent, u32)) {
        if self.outstanding == 0 {
            return;
        }
        for (number, sent) in (0..).zip(&self.messages) {
            if sent.answer == Answer::Acked && self.count(number) < self.members {
                for member in (0..self.members).filter(|member| !self.has(number, *member)) {
                    lost(number, sent, member);
                }
            }
        }
    }

    fn has(&self, number: u32, member: u32) -> bool {
        self.bit(number, member).is_some_and(|(word, bit)| self.bits[word] & bit != 0)
    }

    fn count(&self, number: u32) -> u32 {
        let at = number as usize * self.stride;
        self.bits[at..at + self.stride].iter().map(|word| word.count_ones()).sum()
    }

    fn bit(&self, number: u32, member: u32) -> Option<(usize, u64)> {
        if member >= self.members || number as usize >= self.messages.len() {
            return None;
        }
        let word = number as usize * self.stride + member as usize / 64;
        Some((word, 1 << (member % 64)))
    }
}

impl Sent {
    /// Nobody whose time counts had to catch up.
    pub fn all_live(&self) -> bool {
        !self.caught_up
    }
}

impl Wrongs {
    /// Counts one, and keeps it as a witness if it is among the first of its kind.
    pub fn add(&mut self, wrong: &'static str, witness: impl FnOnce() -> Witness) {
        let count = match wrong {
            "lost" => &mut self.lost,
            "duplicated" => &mut self.duplicated,
            "reordered" => &mut self.reordered,
            _ => &mut self.corrupted,
        };
        *count += 1;
        if *count <= WITNESSES as u64 {
            self.witnesses.push(witness());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(members: u32, messages: u32) -> Tally {
        let mut tally = Tally::new(members, messages as usize);
        for number in 0..messages {
            let previous = number.checked_sub(1);
            assert_eq!(tally.send((10, 11), 7, members, previous), number);
        }
        tally
    }

    #[test]
    fn a_message_is_complete_with_its_last_member() {
        for members in [1, 2, 63, 64, 65, 200] {
            let mut tally = tally(members, 3);
            assert_eq!(tally.open(), (3 * u64::from(members), 3));
            for member in 0..members {
                let (sent, delivery) = tally.deliver(1, member, true, false).unwrap();
                assert_eq!(delivery, Delivery::New { last: member + 1 == members });
                assert!(sent.all_live() && sent.channel == 7);
            }
            assert_eq!(tally.complete(), (1, 3));
            assert_eq!(tally.open(), (2 * u64::from(members), 3));
        }
    }

    #[test]
    fn what_comes_twice_is_known() {
        let mut tally = tally(2, 1);
        assert_eq!(tally.deliver(0, 1, true, false).unwrap().1, Delivery::New { last: false });
        assert_eq!(tally.deliver(0, 1, true, false).unwrap().1, Delivery::Again);
        assert!(tally.deliver(0, 2, true, false).is_none());
        assert!(tally.deliver(1, 0, true, false).is_none());
    }

    #[test]
    fn only_what_was_taken_can_be_lost() {
        let mut tally = tally(3, 3);
        assert!(tally.ack(0).is_some() && tally.ack(0).is_none());
        assert!(tally.refuse(1).is_some() && tally.refuse(1).is_none());
        tally.deliver(0, 1, true, false);
        let mut lost = Vec::new();
        tally.lost(|number, _, member| lost.push((number, member)));
        assert_eq!(lost, [(0, 0), (0, 2)]);
        // Of the refused one nothing is expected, of the unanswered one everything.
        assert_eq!(tally.open(), (2 + 3, 1));
    }

    #[test]
    fn a_sender_s_earlier_message_that_comes_later_is_seen() {
        let mut tally = tally(2, 3);
        tally.deliver(1, 0, true, false);
        assert!(tally.has_next(0, 0), "message 0 would come after message 1");
        assert!(!tally.has_next(0, 1) && !tally.has_next(1, 0) && !tally.has_next(2, 0));
    }

    #[test]
    fn slow_members_do_not_decide_when_a_message_is_complete() {
        let mut tally = Tally::new(3, 1);
        tally.send((0, 0), 0, 2, None);
        tally.deliver(0, 0, true, false);
        assert_eq!(tally.deliver(0, 1, true, true).unwrap().1, Delivery::New { last: true });
        let (sent, delivery) = tally.deliver(0, 2, false, true).unwrap();
        assert_eq!(delivery, Delivery::New { last: false });
        assert!(!sent.all_live(), "a counted member caught up");
        assert_eq!(tally.open().0, 0);
    }
}
