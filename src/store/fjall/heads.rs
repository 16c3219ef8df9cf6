//! Heads that the committer remembers: two generations, the older one forgotten whole.

use damso_proto::id::ChannelNo;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::store::log::Head;

type Generation = HashMap<ChannelNo, Head, FixedState>;

/// A bounded map that keeps what was used last.
#[derive(Debug)]
pub(super) struct Heads {
    young: Generation,
    old: Generation,
    generation_max: usize,
}

impl Heads {
    /// Remembers at least the last `generation_max` channels used, at most twice as many.
    pub(super) fn new(generation_max: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), generation_max }
    }

    /// Remembers `head`.
    pub(super) fn put(&mut self, channel: ChannelNo, head: Head) {
        if self.young.len() >= self.generation_max && !self.young.contains_key(&channel) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(channel, head);
    }

    /// The head of a channel, loaded if it is not remembered.
    pub(super) fn get<E>(
        &mut self,
        channel: ChannelNo,
        load: impl FnOnce() -> Result<Head, E>,
    ) -> Result<Head, E> {
        if let Some(head) = self.young.get(&channel) {
            return Ok(*head);
        }
        let head = match self.old.get(&channel) {
            Some(head) => *head,
            None => load()?,
        };
        self.put(channel, head);
        Ok(head)
    }
}

#[cfg(test)]
mod tests {
    use damso_proto::id::Seq;

    use super::*;

    #[test]
    fn what_was_used_last_is_remembered_within_the_bound() {
        let mut heads = Heads::new(8);
        for number in 0..1_000 {
            let channel = ChannelNo::new(number);
            heads.put(channel, Head { seq: Seq::new(number), ..Head::EMPTY });
            assert!(heads.young.len() + heads.old.len() <= 16);
            for recent in number.saturating_sub(6)..=number {
                let head = heads.get(ChannelNo::new(recent), || Err(recent));
                assert_eq!(head.map(|head| head.seq), Ok(Seq::new(recent)));
            }
        }
        assert_eq!(heads.get(ChannelNo::new(0), || Err("loaded")), Err("loaded"));
    }
}
