//! What the bare server does wrong on purpose, so that the harness can be seen to find it.
//!
//! ```text
//! lose@N  repeat@N  swap@N  damage@N    one delivery, counted from 1; a sender's own do not count
//! stall=1s@4s   stall=1s@4s#1           the whole server, once; #P: counted from phase P
//! delay=5ms                             everything that is said, each time
//! ```
//!
//! A swapped delivery follows the receiver's next event of the same channel. When there is no
//! next one it never arrives, like a lost one.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use damso_proto::wire::send::Content;

use crate::engine::payload::{Payload, Read};
use crate::engine::poll::now_ns;

/// The longest duration of a fault.
const DURATION_MAX: Duration = Duration::from_secs(3_600);

/// One thing that goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// One delivery.
    Delivery {
        /// What is done to it.
        wrong: Wrong,
        /// Which, counted from 1; those to the sender itself are not counted. Of two faults of one
        /// delivery the later given counts.
        at: u64,
    },
    /// The whole server does nothing for a while.
    Stall(Stall),
    /// Everything that the server says leaves this much later.
    Delay(Duration),
}

/// What can be done to a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// It does not arrive.
    Lose,
    /// It arrives twice.
    Repeat,
    /// It arrives after the receiver's next event of its channel.
    Swap,
    /// A byte of its payload is another one.
    Damage,
}

/// When the server does nothing, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stall {
    /// How long.
    pub lasts: Duration,
    /// How long after the first message was taken it begins.
    pub after: Duration,
    /// Counted from the first message whose payload is of this phase; `None`: from any.
    pub phase: Option<u16>,
}

/// Why a text is no fault.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum FaultError {
    /// No kind of fault.
    #[error("`{0}` is no fault; take lose@N, repeat@N, swap@N, damage@N, stall=1s@4s or delay=5ms")]
    Unknown(String),
    /// No place of a delivery.
    #[error("`{0}`: the place is a delivery's number, counted from 1, as in lose@1000")]
    Place(String),
    /// Not when and how long.
    #[error(
        "`{0}` should look like stall=1s@4s, or stall=1s@4s#1 to count from phase 1; \
         a time is a whole number of us, ms or s, at most an hour"
    )]
    Stall(String),
    /// Not how long.
    #[error(
        "`{0}` should look like delay=5ms; take a whole number of us, ms or s, at most an hour"
    )]
    Delay(String),
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        if let Some(stall) = text.strip_prefix("stall=") {
            return parse_stall(stall).map(Self::Stall).ok_or(FaultError::Stall(text.into()));
        }
        if let Some(delay) = text.strip_prefix("delay=") {
            let delay = parse_duration(delay).filter(|delay| !delay.is_zero());
            return delay.map(Self::Delay).ok_or(FaultError::Delay(text.into()));
        }
        let (what, at) = text.split_once('@').unwrap_or((text, ""));
        let wrong = match what {
            "lose" => Wrong::Lose,
            "repeat" => Wrong::Repeat,
            "swap" => Wrong::Swap,
            "damage" => Wrong::Damage,
            _ => return Err(FaultError::Unknown(text.into())),
        };
        match at.parse() {
            Ok(at) if at > 0 => Ok(Self::Delivery { wrong, at }),
            _ => Err(FaultError::Place(text.into())),
        }
    }
}

fn parse_stall(text: &str) -> Option<Stall> {
    let (lasts, when) = text.split_once('@')?;
    let (after, phase) = match when.split_once('#') {
        Some((after, phase)) => (after, Some(phase.parse().ok()?)),
        None => (when, None),
    };
    let lasts = parse_duration(lasts).filter(|lasts| !lasts.is_zero())?;
    Some(Stall { lasts, after: parse_duration(after)?, phase })
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    let duration = match unit {
        "us" => Duration::from_micros(number),
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        _ => return None,
    };
    (duration <= DURATION_MAX).then_some(duration)
}

/// One person's view of one channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Receiver {
    pub(super) slot: usize,
    pub(super) channel: u64,
}

/// A delivery that waits for the next one to go first.
#[derive(Debug)]
struct Swapped {
    to: Receiver,
    event: Bytes,
}

#[derive(Debug)]
enum Stalling {
    Waits(Stall),
    Begins { at_ns: u64, lasts: Duration },
}

/// What is still to go wrong with messages and time.
#[derive(Default, Debug)]
pub(super) struct Faults {
    wrongs: BTreeMap<u64, Wrong>,
    deliveries: u64,
    /// At most as many as there are swaps in `wrongs`.
    swapped: Vec<Swapped>,
    stalls: Vec<Stalling>,
}

impl Faults {
    pub(super) fn wrong(&mut self, wrong: Wrong, at: u64) {
        self.wrongs.insert(at, wrong);
    }

    pub(super) fn stall(&mut self, stall: Stall) {
        self.stalls.push(Stalling::Waits(stall));
    }

    /// Counts a delivery, and says it as it shall arrive.
    pub(super) fn deliver(&mut self, to: Receiver, event: &Bytes, mut say: impl FnMut(&Bytes)) {
        self.deliveries += 1;
        match self.wrongs.get(&self.deliveries) {
            None => say(event),
            Some(Wrong::Lose) => return,
            Some(Wrong::Repeat) => {
                say(event);
                say(event);
            }
            Some(Wrong::Swap) => return self.swapped.push(Swapped { to, event: event.clone() }),
            Some(Wrong::Damage) => say(&damaged(event)),
        }
        self.follow(to, say);
    }

    /// An event reached `to`: says what was swapped behind it.
    pub(super) fn follow(&mut self, to: Receiver, mut say: impl FnMut(&Bytes)) {
        self.swapped.retain(|swapped| {
            let follows = swapped.to == to;
            if follows {
                say(&swapped.event);
            }
            !follows
        });
    }

    /// The connection is gone, and its slot will be another's.
    pub(super) fn forget(&mut self, slot: usize) {
        self.swapped.retain(|swapped| swapped.to.slot != slot);
    }

    /// A message was taken: stalls that waited for it are timed from now on.
    pub(super) fn taken(&mut self, content: Option<&Content>) {
        for stalling in &mut self.stalls {
            if let Stalling::Waits(stall) = stalling
                && stall.phase.is_none_or(|phase| Some(phase) == phase_of(content))
            {
                let at_ns = now_ns() + stall.after.as_nanos() as u64;
                *stalling = Stalling::Begins { at_ns, lasts: stall.lasts };
            }
        }
    }

    /// When the next stall begins.
    pub(super) fn next_stall_ns(&self) -> Option<u64> {
        let begins = self.stalls.iter().filter_map(|stalling| match stalling {
            Stalling::Begins { at_ns, .. } => Some(*at_ns),
            Stalling::Waits(_) => None,
        });
        begins.min()
    }

    /// How long nothing is to be done, beginning now. A stall is due once.
    pub(super) fn due_stall(&mut self) -> Option<Duration> {
        let next_ns = self.next_stall_ns().filter(|at_ns| *at_ns <= now_ns())?;
        let due = self.stalls.iter().position(
            |stalling| matches!(stalling, Stalling::Begins { at_ns, .. } if *at_ns == next_ns),
        )?;
        match self.stalls.swap_remove(due) {
            Stalling::Begins { lasts, .. } => Some(lasts),
            Stalling::Waits(_) => None,
        }
    }
}

fn damaged(event: &Bytes) -> Bytes {
    let mut event = event.to_vec();
    // The content comes last, so its last byte is the payload's.
    if let Some(last) = event.last_mut() {
        *last ^= 1;
    }
    event.into()
}

fn phase_of(content: Option<&Content>) -> Option<u16> {
    match content {
        Some(Content::Custom(custom)) => match Payload::read(&custom.body) {
            Read::Whole(payload) => Some(payload.tag.phase),
            Read::Corrupt => None,
        },
        Some(Content::Text(_)) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use damso_proto::wire;

    use super::*;
    use crate::engine::payload::Tag;

    const HERE: Receiver = Receiver { slot: 1, channel: 2 };
    const ELSEWHERE: Receiver = Receiver { slot: 1, channel: 4 };

    #[test]
    fn a_fault_is_read_as_it_is_written() {
        let (second, millis, micros) =
            (Duration::from_secs, Duration::from_millis, Duration::from_micros);
        let delivery = |wrong, at| Fault::Delivery { wrong, at };
        let stall = |lasts, after, phase| Fault::Stall(Stall { lasts, after, phase });
        let cases = [
            ("lose@1", delivery(Wrong::Lose, 1)),
            ("repeat@300", delivery(Wrong::Repeat, 300)),
            ("swap@7", delivery(Wrong::Swap, 7)),
            ("damage@18446744073709551615", delivery(Wrong::Damage, u64::MAX)),
            ("stall=1s@4s", stall(second(1), second(4), None)),
            ("stall=250ms@0s#1", stall(millis(250), Duration::ZERO, Some(1))),
            ("delay=5ms", Fault::Delay(millis(5))),
            ("delay=1us", Fault::Delay(micros(1))),
        ];
        for (text, fault) in cases {
            assert_eq!(text.parse(), Ok(fault), "{text}");
        }
    }

    #[test]
    fn what_is_no_fault_is_refused_and_told_what_is() {
        let cases = [
            ("", "stall=1s@4s"),
            ("loose@3", "lose@N"),
            ("lose", "lose@1000"),
            ("lose@0", "counted from 1"),
            ("swap@-1", "counted from 1"),
            ("stall=1s", "stall=1s@4s"),
            ("stall=1@4", "us, ms or s"),
            ("stall=0s@4s", "stall=1s@4s"),
            ("stall=1s@4s#x", "#1"),
            ("delay=", "delay=5ms"),
            ("delay=5", "delay=5ms"),
            ("delay=1.5ms", "whole number"),
            ("delay=3601s", "at most an hour"),
            ("delay=99999999999999999999s", "at most an hour"),
        ];
        for (text, hint) in cases {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    /// What arrives of the events 1-4, the third being in another channel.
    fn arrived(wrong: Wrong, at: u64) -> Vec<Vec<u8>> {
        let mut faults = Faults::default();
        faults.wrong(wrong, at);
        let mut arrived = Vec::new();
        for (event, to) in [(1, HERE), (2, HERE), (3, ELSEWHERE), (4, HERE)] {
            faults.deliver(to, &Bytes::from(vec![event]), |event| arrived.push(event.to_vec()));
        }
        arrived
    }

    #[test]
    fn the_named_delivery_alone_goes_wrong() {
        let cases: [(Wrong, u64, &[u8]); 7] = [
            (Wrong::Lose, 2, &[1, 3, 4]),
            (Wrong::Repeat, 2, &[1, 2, 2, 3, 4]),
            (Wrong::Damage, 2, &[1, 3, 3, 4]),
            (Wrong::Swap, 1, &[2, 1, 3, 4]),
            (Wrong::Swap, 2, &[1, 3, 4, 2]),
            (Wrong::Swap, 3, &[1, 2, 4]),
            (Wrong::Lose, 5, &[1, 2, 3, 4]),
        ];
        for (wrong, at, expected) in cases {
            assert_eq!(arrived(wrong, at).concat(), expected, "{wrong:?}@{at}");
        }
    }

    #[test]
    fn a_swapped_delivery_follows_the_receivers_own_message_too_and_dies_with_its_connection() {
        for dies in [false, true] {
            let mut faults = Faults::default();
            faults.wrong(Wrong::Swap, 1);
            faults.deliver(HERE, &Bytes::from_static(b"1"), |_| unreachable!());
            if dies {
                faults.forget(HERE.slot);
            }
            let mut followed = 0;
            faults.follow(HERE, |_| followed += 1);
            faults.follow(HERE, |_| followed += 1);
            assert_eq!(followed, u32::from(!dies));
        }
    }

    fn message(phase: u16) -> Content {
        let payload = Payload { run: 1, intended_ns: 2, tag: Tag { phase, stream: 0, number: 0 } };
        let custom = wire::Custom { r#type: "load".into(), body: payload.encode(64).into() };
        Content::Custom(custom)
    }

    #[test]
    fn a_stall_waits_for_a_message_of_its_phase_and_is_due_once() {
        for (text, begun_by) in [("stall=9s@0s", 1), ("stall=9s@0s#1", 3)] {
            let mut faults = Faults::default();
            let Ok(Fault::Stall(stall)) = text.parse() else { unreachable!() };
            faults.stall(stall);
            assert_eq!(faults.due_stall(), None);
            let messages = [Content::Text("hello".into()), message(0), message(1)];
            for (at, content) in (1..).zip(&messages) {
                faults.taken(Some(content));
                assert_eq!(faults.next_stall_ns().is_some(), at >= begun_by, "{text} {at}");
            }
            assert_eq!(faults.due_stall(), Some(Duration::from_secs(9)));
            assert_eq!(faults.due_stall(), None);
        }
    }

    #[test]
    fn a_stall_is_not_due_before_its_time() {
        let mut faults = Faults::default();
        let (lasts, after) = (Duration::from_secs(1), Duration::from_secs(3_000));
        faults.stall(Stall { lasts, after, phase: None });
        faults.taken(None);
        assert!(faults.next_stall_ns().unwrap() > now_ns());
        assert_eq!(faults.due_stall(), None);
    }
}
