//! What is kept of one connection, whether it is there or not.

use damso_proto::id::Key;

use crate::engine::payload::{Payload, Tag};

/// What a request was for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// A message.
    Send(Pending),
    /// A step of the set-up.
    Step { channel: u32 },
    /// A page that the run reads: rows so far, and its first seq.
    Page { tag: Tag, rows: u32, from: u64 },
    /// Events that did not come live: `from..=to` are still missing.
    Behind { number: u64, from: u64, to: u64 },
    /// A channel is read back.
    Back { channel: u32, rows: u32 },
}

/// A send whose answer has not come.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub(super) key: Key,
    pub(super) channel: u32,
    pub(super) payload: Payload,
    pub(super) bytes: usize,
    pub(super) attempt: u32,
}

/// See the module. Small: there are tens of thousands.
#[derive(Default, Debug)]
pub(super) struct Person {
    /// Their number at the target.
    pub(super) user: u64,
    /// Sessions so far.
    pub(super) sessions: u32,
    /// (channel number, last contiguous seq) by channel.
    places: Vec<(u64, u64)>,
    asked: Vec<(u64, Asked)>,
    /// Sends to be repeated once the connection is back.
    pub(super) pending: Vec<Pending>,
}

impl Person {
    /// The cursor in a channel; 0: nothing came yet.
    pub(super) fn place(&self, channel: u64) -> u64 {
        self.places
            .binary_search_by_key(&channel, |place| place.0)
            .map_or(0, |at| self.places[at].1)
    }

    pub(super) fn set_place(&mut self, channel: u64, seq: u64) {
        match self.places.binary_search_by_key(&channel, |place| place.0) {
            Ok(at) => self.places[at].1 = seq,
            Err(at) => self.places.insert(at, (channel, seq)),
        }
    }

    /// All cursors, by channel number.
    pub(super) fn places(&self) -> &[(u64, u64)] {
        &self.places
    }

    /// Notes what request `id` is for.
    pub(super) fn ask(&mut self, id: u64, asked: Asked) {
        self.asked.push((id, asked));
    }

    /// What request `id` was for; forgotten unless `more` answers follow.
    pub(super) fn answered(&mut self, id: u64, more: bool) -> Option<Asked> {
        let at = self.asked.iter().position(|(asked, _)| *asked == id)?;
        if more { Some(self.asked[at].1.clone()) } else { Some(self.asked.swap_remove(at).1) }
    }

    /// What request `id` was for, to be changed while more answers follow.
    pub(super) fn asked(&mut self, id: u64) -> Option<&mut Asked> {
        self.asked.iter_mut().find(|(asked, _)| *asked == id).map(|(_, asked)| asked)
    }

    /// Everything that no answer will come for any more.
    pub(super) fn take_asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked).into_iter().map(|(_, asked)| asked).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_kept_by_channel() {
        let mut person = Person::default();
        for (channel, seq) in [(9, 1), (3, 2), (9, 4), (5, 7)] {
            person.set_place(channel, seq);
        }
        assert_eq!(person.places(), [(3, 2), (5, 7), (9, 4)]);
        assert_eq!((person.place(9), person.place(4)), (4, 0));
    }

    #[test]
    fn a_request_is_forgotten_with_its_last_answer() {
        let mut person = Person::default();
        person.ask(1, Asked::Step { channel: 5 });
        person.ask(2, Asked::Step { channel: 6 });
        assert!(matches!(person.answered(1, true), Some(Asked::Step { channel: 5 })));
        assert!(matches!(person.answered(1, false), Some(Asked::Step { channel: 5 })));
        assert!(person.answered(1, false).is_none());
        assert_eq!(person.take_asked().len(), 1);
    }
}
