//! What is kept of one connection.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::codec::PacketId;
use super::reader::Reader;
use crate::driver::Broken;
use crate::engine::payload::Tag;

/// What CONNECT promises: no longer silence than this.
pub(super) const KEEP_ALIVE_S: u16 = 60;
const KEEP_ALIVE_NS: u64 = KEEP_ALIVE_S as u64 * 1_000_000_000;
/// A broker gives a client up after one and a half times the keep-alive [MQTT-3.1.2-24]; so it is
/// given up, too.
const SILENCE_NS_MAX: u64 = KEEP_ALIVE_NS / 2 * 3;
/// Packets that wait for an answer: as many as there are ids.
pub(super) const IN_FLIGHT_MAX: usize = u16::MAX as usize;

/// One connection of the driver.
#[derive(Debug)]
pub struct Talk {
    pub(super) reader: Reader,
    pub(super) line: Line,
}

/// How far the log-in is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// CONNECT is out.
    Greeted,
    /// CONNACK came.
    Open,
}

/// Everything but the bytes of a packet that is not whole.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) standing: Standing,
    pub(super) in_flight: InFlight,
    /// SUBSCRIBEs that wait for their SUBACK.
    pub(super) subscribing: u32,
    /// A send that could not be: the connection ends at the next occasion to say so.
    doom: Option<String>,
    sent_ns: u64,
    heard_ns: u64,
    /// A PINGREQ is out, and nothing came since.
    pinged: bool,
}

/// What waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waiting {
    /// A PUBLISH, for its PUBACK.
    Send(Tag),
    /// A SUBSCRIBE of so many topics, for its SUBACK.
    Subscribe { topics: usize },
}

/// Packet ids and what they stand for.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    waiting: HashMap<PacketId, Waiting, FixedState>,
    /// The id given last.
    last: u16,
}

impl InFlight {
    /// An id that nothing in flight has. `None`: all have been given away.
    pub(super) fn begin(&mut self, what: Waiting) -> Option<PacketId> {
        if self.waiting.len() >= IN_FLIGHT_MAX {
            return None;
        }
        // One is free, so this ends.
        loop {
            self.last = self.last.wrapping_add(1);
            let Some(id) = std::num::NonZeroU16::new(self.last).map(PacketId) else { continue };
            if let std::collections::hash_map::Entry::Vacant(free) = self.waiting.entry(id) {
                free.insert(what);
                return Some(id);
            }
        }
    }

    /// What the id stood for. `None`: for nothing.
    pub(super) fn end(&mut self, id: PacketId) -> Option<Waiting> {
        self.waiting.remove(&id)
    }
}

impl Talk {
    pub(super) fn new(now_ns: u64) -> Self {
        let line = Line {
            standing: Standing::Greeted,
            in_flight: InFlight::default(),
            subscribing: 0,
            doom: None,
            sent_ns: now_ns,
            heard_ns: now_ns,
            pinged: false,
        };
        Self { reader: Reader::default(), line }
    }
}

impl Line {
    pub(super) fn sent(&mut self, now_ns: u64) {
        self.sent_ns = now_ns;
    }

    pub(super) fn heard(&mut self, now_ns: u64) {
        self.heard_ns = now_ns;
        self.pinged = false;
    }

    /// Something could not be sent, and nothing was there to say so.
    pub(super) fn doom(&mut self, why: String) {
        self.doom.get_or_insert(why);
    }

    /// # Errors
    /// [`Broken`]: something could not be sent.
    pub(super) fn check(&mut self) -> Result<(), Broken> {
        self.doom.take().map_or(Ok(()), |why| Err(Broken(why)))
    }

    /// Whether a PINGREQ is due; if so it counts as sent.
    ///
    /// # Errors
    /// [`Broken`]: nothing was heard for too long.
    pub(super) fn ping_due(&mut self, now_ns: u64) -> Result<bool, Broken> {
        let silent_ns = now_ns.saturating_sub(self.heard_ns);
        if silent_ns > SILENCE_NS_MAX {
            return Err(Broken(format!("nothing heard for {} s", silent_ns / 1_000_000_000)));
        }
        // Before CONNACK nothing else may be said, and it has the same time to come.
        if self.standing == Standing::Greeted || self.pinged {
            return Ok(false);
        }
        // One who only sends, and that without acknowledgement, hears nothing unless it asks.
        let quiet_ns = silent_ns.max(now_ns.saturating_sub(self.sent_ns));
        self.pinged = quiet_ns >= KEEP_ALIVE_NS;
        if self.pinged {
            self.sent_ns = now_ns;
        }
        Ok(self.pinged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(number: u32) -> Waiting {
        Waiting::Send(Tag { phase: 0, stream: 0, number })
    }

    #[test]
    fn no_id_is_in_flight_twice_and_no_more_than_there_are() {
        let mut in_flight = InFlight::default();
        let mut ids: Vec<PacketId> =
            (0..IN_FLIGHT_MAX as u32).map(|n| in_flight.begin(send(n)).unwrap()).collect();
        assert_eq!(in_flight.begin(send(0)), None);
        // Whatever becomes free is found, however far it is.
        for n in [7, 65_000, 3] {
            assert_eq!(in_flight.end(ids[n as usize]), Some(send(n)));
            assert_eq!(in_flight.end(ids[n as usize]), None);
            assert_eq!(in_flight.begin(send(n)), Some(ids[n as usize]));
        }
        ids.sort_by_key(|id| id.0);
        ids.dedup();
        assert_eq!(ids.len(), IN_FLIGHT_MAX);
    }

    #[test]
    fn silence_is_asked_about_once_and_then_ends_the_connection() {
        let mut line = Talk::new(0).line;
        line.standing = Standing::Open;
        let second = 1_000_000_000;
        let mut pings = Vec::new();
        let end = (0..).find(|s| match line.ping_due(s * second) {
            Ok(due) => {
                pings.extend(due.then_some(*s));
                false
            }
            Err(_) => true,
        });
        assert_eq!((pings, end), (vec![60], Some(91)));
    }

    #[test]
    fn one_who_sends_all_the_time_still_asks_whether_anybody_is_there() {
        let mut line = Talk::new(0).line;
        line.standing = Standing::Open;
        let mut pings = 0;
        for s in 1..=300 {
            line.sent(s * 1_000_000_000);
            if line.ping_due(s * 1_000_000_000).unwrap() {
                pings += 1;
                line.heard(s * 1_000_000_000);
            }
        }
        assert_eq!(pings, 5);
    }

    #[test]
    fn one_who_hears_all_the_time_still_says_that_it_is_there() {
        let mut line = Talk::new(0).line;
        line.standing = Standing::Open;
        let mut pings = 0;
        for s in 1..=300 {
            line.heard(s * 1_000_000_000);
            pings += u32::from(line.ping_due(s * 1_000_000_000).unwrap());
        }
        assert_eq!(pings, 5);
    }
}
