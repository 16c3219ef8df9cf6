//! Who is in which channel: a pure function, so that nobody has to keep a list.
//!
//! ```text
//! class    channels of one kind and size, numbered behind those of the classes before it
//! pass     as many channels of a class as there are people for; each person is in at most one
//! place    pass p shuffles people by  person -> (person x a_p + b_p) mod people
//! ```
//!
//! So a channel has no person twice, each person is in about as many channels as any other, and
//! two channels share people by chance only. Both directions are arithmetic.

use serde::{Deserialize, Serialize};

use super::model::Kind;

/// Channels of one kind and size.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Class {
    /// How many.
    pub count: u32,
    /// Members of each; at most as many as there are people.
    pub members: u32,
    /// What sort.
    pub kind: Kind,
}

/// Everyone and all channels of one worker.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Layout {
    people: u32,
    classes: Vec<Class>,
    /// Number of each class' first channel.
    firsts: Vec<u32>,
}

/// One shuffle of all people, invertible.
#[derive(Clone, Copy)]
struct Shuffle {
    people: u64,
    times: u64,
    plus: u64,
    inverse: u64,
}

impl Class {
    /// How many of a channel's members write: the first ones.
    pub fn writers(&self) -> u32 {
        match self.kind {
            Kind::Group | Kind::Direct => self.members,
            Kind::Broadcast => 1,
        }
    }
}

impl Layout {
    /// Lays `classes` out over `people`. A class with more members than people has all of them.
    pub fn new(people: u32, classes: &[Class]) -> Self {
        let mut first = 0;
        let mut firsts = Vec::with_capacity(classes.len());
        let mut kept = Vec::with_capacity(classes.len());
        for class in classes {
            firsts.push(first);
            first += class.count;
            kept.push(Class { members: class.members.clamp(1, people.max(1)), ..*class });
        }
        Self { people, classes: kept, firsts }
    }

    /// How many people there are, numbered from 0.
    pub fn people(&self) -> u32 {
        self.people
    }

    /// How many channels there are, numbered from 0.
    pub fn channels(&self) -> u32 {
        self.classes.iter().map(|class| class.count).sum()
    }

    /// The numbers of a class' channels.
    pub fn range(&self, class: usize) -> std::ops::Range<u32> {
        let first = self.firsts[class];
        first..first + self.classes[class].count
    }

    /// What kind of channel this is.
    pub fn class(&self, channel: u32) -> Class {
        self.classes[self.class_of(channel)]
    }

    /// The person who is member `at` of `channel`; member 0 makes it.
    pub fn member(&self, channel: u32, at: u32) -> u32 {
        let (class, pass, first) = self.place(channel);
        self.shuffle(class, pass).forth(first + at)
    }

    /// All members of `channel`, its maker first.
    pub fn members(&self, channel: u32) -> impl Iterator<Item = u32> + use<> {
        let (class, pass, first) = self.place(channel);
        let shuffle = self.shuffle(class, pass);
        (first..first + self.classes[class].members).map(move |slot| shuffle.forth(slot))
    }

    /// Which member of `channel` this person is. `None`: none of them.
    pub fn member_no(&self, channel: u32, person: u32) -> Option<u32> {
        let (class, pass, first) = self.place(channel);
        let at = self.shuffle(class, pass).back(person).checked_sub(first)?;
        (at < self.classes[class].members).then_some(at)
    }

    /// All channels of a person.
    pub fn channels_of(&self, person: u32) -> Vec<u32> {
        let mut found = Vec::new();
        for (number, class) in self.classes.iter().enumerate() {
            let per_pass = self.per_pass(class);
            for pass in 0..class.count.div_ceil(per_pass) {
                let slot = self.shuffle(number, pass).back(person);
                let at = pass * per_pass + slot / class.members;
                if slot / class.members < per_pass && at < class.count {
                    found.push(self.firsts[number] + at);
                }
            }
        }
        found
    }

    fn class_of(&self, channel: u32) -> usize {
        self.firsts.partition_point(|first| *first <= channel).saturating_sub(1)
    }

    /// Channels of one pass.
    fn per_pass(&self, class: &Class) -> u32 {
        (self.people / class.members).max(1)
    }

    /// (class, pass, the first slot of the pass that is this channel's).
    fn place(&self, channel: u32) -> (usize, u32, u32) {
        let number = self.class_of(channel);
        let class = &self.classes[number];
        let at = channel - self.firsts[number];
        let per_pass = self.per_pass(class);
        (number, at / per_pass, at % per_pass * class.members)
    }

    fn shuffle(&self, class: usize, pass: u32) -> Shuffle {
        let people = u64::from(self.people.max(1));
        // The first pass of the first class is in order: its channels are easy to find in a log.
        let draw = u64::from(pass) + 1_000 * class as u64;
        let mut times = 1 + draw.wrapping_mul(0x9e37_79b9_7f4a_7c15) % people;
        while gcd(times, people) != 1 {
            times += 1;
        }
        if draw == 0 {
            times = 1;
        }
        let plus = draw.wrapping_mul(0xd134_2543_de82_ef95) % people;
        Shuffle { people, times: times % people.max(2), plus, inverse: inverse(times, people) }
    }
}

impl Shuffle {
    fn forth(&self, slot: u32) -> u32 {
        ((u64::from(slot) * self.times + self.plus) % self.people) as u32
    }

    fn back(&self, person: u32) -> u32 {
        let moved = (u64::from(person) + self.people - self.plus) % self.people;
        (moved * self.inverse % self.people) as u32
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The number whose product with `a` leaves 1 when divided by `m`; `a` and `m` have no divisor in
/// common. Extended Euclid.
fn inverse(a: u64, m: u64) -> u64 {
    let (mut rest, mut next) = (i128::from(a), i128::from(m));
    let (mut x, mut x_next) = (1, 0);
    while next != 0 {
        let times = rest / next;
        (rest, next) = (next, rest - times * next);
        (x, x_next) = (x_next, x - times * x_next);
    }
    x.rem_euclid(i128::from(m)) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn group(count: u32, members: u32) -> Class {
        Class { count, members, kind: Kind::Group }
    }

    #[test]
    fn nobody_is_in_a_channel_twice_and_both_directions_agree() {
        for people in [1, 2, 10, 97, 100, 1_000] {
            let layout = Layout::new(people, &[group(70, 10), group(1, u32::MAX), group(40, 2)]);
            assert_eq!(layout.channels(), 111);
            for channel in 0..layout.channels() {
                let members: Vec<u32> = layout.members(channel).collect();
                let different: HashSet<u32> = members.iter().copied().collect();
                assert_eq!(different.len(), members.len(), "channel {channel} of {people}");
                assert_eq!(members.len() as u32, layout.class(channel).members);
                for person in 0..people {
                    let at = members.iter().position(|member| *member == person);
                    assert_eq!(layout.member_no(channel, person), at.map(|at| at as u32));
                    assert_eq!(layout.channels_of(person).contains(&channel), at.is_some());
                }
                assert_eq!(layout.member(channel, 0), members[0]);
            }
        }
    }

    #[test]
    fn people_are_in_about_as_many_channels_as_any_other() {
        let layout = Layout::new(1_000, &[group(5_000, 10)]);
        for person in 0..1_000 {
            assert_eq!(layout.channels_of(person).len(), 50);
        }
        // And not always with the same nine.
        let others: HashSet<u32> =
            layout.channels_of(7).iter().flat_map(|channel| layout.members(*channel)).collect();
        assert!(others.len() > 200, "{}", others.len());
    }

    #[test]
    fn classes_have_their_own_numbers() {
        let layout = Layout::new(100, &[group(3, 5), group(4, 2)]);
        assert_eq!((layout.range(0), layout.range(1)), (0..3, 3..7));
        assert_eq!(layout.class(2).members, 5);
        assert_eq!(layout.class(3).members, 2);
    }
}
