//! What befalls connections by scenario: they break and come back, or read slowly.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::order::{PhaseOrder, Report};
use super::visit::Visits;
use super::work::tell;
use super::world::{Reading, World};
use crate::driver::Driver;
use crate::engine::poll::{SECOND_NS, now_ns};
use crate::schedule::Random;

/// Attempts to come back before a connection counts as lost.
const ATTEMPTS_MAX: u8 = 10;
/// A further attempt is made after this long, and a random part of it more.
const AGAIN_NS: u64 = 500_000_000;
/// Slow readers read this often.
const SIP_NS: u64 = 100_000_000;
/// People who come and go are away for up to this long.
const AWAY_NS: u64 = 2_000_000_000;

/// Who breaks and when, drawn before the phase begins; and who is to come back.
pub(super) struct Fates {
    /// (when, who, how long away) by falling time: the next is last.
    falls: Vec<(u64, u32, u64)>,
    backs: BinaryHeap<Reverse<(u64, u32)>>,
    /// Connections that were broken in this phase.
    touched: Vec<bool>,
    /// When the storm broke loose. `None`: there is none, or not yet.
    storm_ns: Option<u64>,
    storm_at_ns: u64,
    /// Slow readers, and when they read next.
    slow: Vec<u32>,
    sip_ns: u64,
    sip_bytes: usize,
    /// Who only visits.
    pub(super) visits: Option<Visits>,
}

impl Fates {
    pub(super) fn draw(order: &PhaseOrder, people: u32) -> Self {
        let mut random = Random::new(order.seed ^ 0x00fa_7e50);
        let mut falls = Vec::new();
        if let Some(storm) = order.storm {
            let at_ns = order.start_ns + (storm.at_seconds * 1e9) as u64;
            for person in some_of(people, storm.share, &mut random) {
                let away_ns = (random.unit() * storm.jitter_seconds * 1e9) as u64;
                falls.push((at_ns, person, away_ns));
            }
        }
        let per_second = order.churn_per_minute / 60.0 * f64::from(people);
        // Without any, the first of them would come after the end of time.
        let mut gap = || -(1.0 - random.unit()).ln() / per_second;
        let mut at = gap();
        let mut moments = Vec::new();
        while at < order.seconds {
            moments.push(at);
            at += gap();
        }
        for at in moments {
            let away_ns = (random.unit() * AWAY_NS as f64) as u64;
            falls.push((order.start_ns + (at * 1e9) as u64, random.below(people), away_ns));
        }
        falls.sort_unstable_by_key(|fall| Reverse(fall.0));
        Self {
            falls,
            backs: BinaryHeap::new(),
            touched: vec![false; people as usize],
            storm_ns: None,
            storm_at_ns: order
                .storm
                .map_or(u64::MAX, |storm| order.start_ns + (storm.at_seconds * 1e9) as u64),
            slow: Vec::new(),
            sip_ns: u64::MAX,
            sip_bytes: 0,
            visits: None,
        }
    }

    /// When something is due next.
    pub(super) fn next_ns(&self) -> u64 {
        let fall = self.falls.last().map_or(u64::MAX, |fall| fall.0);
        let back = self.backs.peek().map_or(u64::MAX, |back| back.0.0);
        let visit = self.visits.as_ref().map_or(u64::MAX, Visits::next_ns);
        fall.min(back).min(self.sip_ns).min(visit)
    }

    /// Somebody is still to come back.
    pub(super) fn is_open(&self) -> bool {
        !self.backs.is_empty()
    }

    /// Visits are still to come, or on their way.
    pub(super) fn visits_are_open(&self) -> bool {
        self.visits.as_ref().is_some_and(Visits::is_open)
    }

    /// Who is still to come back.
    pub(super) fn away(&self) -> impl Iterator<Item = u32> + '_ {
        self.backs.iter().map(|back| back.0.1)
    }

    /// This connection was broken in the phase.
    pub(super) fn touched(&self, conn: u32) -> bool {
        self.touched.get(conn as usize).copied().unwrap_or(false)
    }
}

/// A random part of 0..`people`, by rising number.
pub(super) fn some_of(people: u32, share: f64, random: &mut Random) -> Vec<u32> {
    let wanted = (f64::from(people) * share).round() as u32;
    let mut left = wanted;
    (0..people)
        .filter(|person| {
            // Each remaining one has the same chance to be among those that are still wanted.
            let taken = random.below(people - person) < left;
            left -= u32::from(taken);
            taken
        })
        .collect()
}

impl<D: Driver> World<D> {
    /// Does what is due at `now_ns`: one thing at a time.
    pub(super) fn befall(&mut self, now_ns: u64) {
        let Some(running) = &mut self.running else { return };
        let fates = &mut running.fates;
        if fates.falls.last().is_some_and(|fall| fall.0 <= now_ns) {
            if let Some((_, conn, away_ns)) = fates.falls.pop() {
                self.fall(conn, now_ns, away_ns);
            }
        } else if fates.backs.peek().is_some_and(|back| back.0.0 <= now_ns) {
            if let Some(Reverse((_, conn))) = fates.backs.pop() {
                self.come_back(conn, now_ns);
            }
        } else if fates.sip_ns <= now_ns {
            fates.sip_ns = now_ns + SIP_NS;
            let bytes = fates.sip_bytes;
            for conn in fates.slow.clone() {
                if matches!(self.conns[conn as usize].reading, Reading::Slowly(n) if n > 0) {
                    self.serve(conn, bytes);
                }
            }
        } else {
            self.visit(now_ns);
        }
    }

    fn fall(&mut self, conn: u32, now_ns: u64, away_ns: u64) {
        // Whoever is away, or reads slowly, is left alone.
        let here = &self.conns[conn as usize];
        if !here.live || here.reading != Reading::AtOnce {
            return;
        }
        self.take_down(conn);
        self.conns[conn as usize].attempts = 1;
        let Some(running) = &mut self.running else { return };
        running.ran.resets += 1;
        running.fates.touched[conn as usize] = true;
        if now_ns >= running.fates.storm_at_ns {
            running.fates.storm_ns.get_or_insert(now_ns);
        }
        running.fates.backs.push(Reverse((now_ns + away_ns, conn)));
    }

    /// Connection `conn`, which is away, comes back at `at_ns`.
    pub(super) fn comes_back_at(&mut self, conn: u32, at_ns: u64) {
        self.conns[conn as usize].attempts = 1;
        if let Some(running) = &mut self.running {
            running.fates.backs.push(Reverse((at_ns, conn)));
        }
    }

    fn come_back(&mut self, conn: u32, now_ns: u64) {
        if self.conns[conn as usize].attempts <= 1 {
            self.conns[conn as usize].begun_ns = now_ns;
        }
        if let Err(why) = self.begin(conn) {
            // Not even a socket: the same as a connection that breaks.
            if !self.try_again(conn) {
                self.note_loss(conn, &why);
            }
        }
    }

    /// A connection that was coming back broke: it tries again. `false`: it was not, or has tried
    /// often enough.
    pub(super) fn try_again(&mut self, conn: u32) -> bool {
        let attempts = &mut self.conns[conn as usize].attempts;
        let Some(running) = &mut self.running else { return false };
        if *attempts == 0 || *attempts >= ATTEMPTS_MAX {
            return false;
        }
        *attempts += 1;
        let jitter_ns = (self.random.unit() * AGAIN_NS as f64) as u64;
        running.fates.backs.push(Reverse((now_ns() + AGAIN_NS + jitter_ns, conn)));
        true
    }

    /// A connection that the scenario broke is live again, so long after it began.
    pub(super) fn came_back(&mut self, took_ns: u64, now_ns: u64) {
        let Some(running) = &mut self.running else { return };
        running.heard_ns = now_ns;
        running.ran.resume.record_ns(took_ns);
        if let Some(storm_ns) = running.fates.storm_ns {
            running.ran.again.record_ns(now_ns.saturating_sub(storm_ns));
        }
    }

    /// Some read slowly from now on. Their receive buffers stay as they are: one that shrinks drops
    /// what was on its way, and the sender's retries, ever further apart, would be measured as the
    /// server's slowness to catch up.
    pub(super) fn slow_down(&mut self, order: &PhaseOrder) {
        let Some(slow) = order.slow else { return };
        let mut random = Random::new(order.seed ^ 0x5_1011);
        let chosen = some_of(self.layout.people(), slow.share, &mut random);
        for &conn in &chosen {
            self.conns[conn as usize].reading = Reading::Slowly(slow.bytes_per_second);
        }
        if slow.bytes_per_second == 0 {
            let addresses = chosen.iter().filter_map(|conn| {
                let pipe = self.conns[*conn as usize].pipe.as_ref()?;
                rustix::net::getsockname(pipe).ok()?.try_into().ok()
            });
            // A controller that is gone ends the run by itself.
            let _ = tell(&Report::Stalled(addresses.collect()));
        }
        let Some(running) = &mut self.running else { return };
        running.ran.slow.0 = chosen.len() as u64;
        running.fates.slow = chosen;
        if slow.bytes_per_second > 0 {
            let per_second = SECOND_NS / SIP_NS;
            running.fates.sip_bytes = (u64::from(slow.bytes_per_second) / per_second) as usize;
            running.fates.sip_ns = now_ns() + SIP_NS;
        }
    }

    /// Everyone reads at once again, and whoever was cut comes back, to get what was missed.
    pub(super) fn read_at_once_again(&mut self) {
        let Some(running) = &mut self.running else { return };
        running.fates.sip_ns = u64::MAX;
        for conn in std::mem::take(&mut running.fates.slow) {
            if self.conns[conn as usize].pipe.is_some() {
                self.serve(conn, usize::MAX - 1);
            }
            self.conns[conn as usize].reading = Reading::CatchingUp;
            if self.conns[conn as usize].pipe.is_none() && self.driver.abilities().resume {
                self.conns[conn as usize].attempts = 1;
                self.come_back(conn, now_ns());
            }
        }
    }

    /// The phase is over: everybody's time counts in the next one.
    pub(super) fn all_are_even(&mut self) {
        for conn in self.conns.iter_mut().filter(|c| c.reading == Reading::CatchingUp) {
            conn.reading = Reading::AtOnce;
        }
    }

    pub(super) fn slow_was_cut(&mut self, conn: u32) {
        if let Some(running) = &mut self.running {
            running.ran.slow.1 += 1;
            running.fates.touched[conn as usize] = true;
        }
    }

    /// Members of a channel whose time counts.
    pub(super) fn counted_members(&self, channel: u32) -> u32 {
        let members = self.layout.class(channel).members;
        let Some(running) = &self.running else { return members };
        if running.fates.slow.is_empty() && running.fates.visits.is_none() {
            return members;
        }
        let slow = self
            .layout
            .members(channel)
            .filter(|conn| self.conns[*conn as usize].reading != Reading::AtOnce);
        members - slow.count() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_exactly_that_many_different_ones() {
        let mut random = Random::new(7);
        for (people, share, wanted) in
            [(1_000, 0.33, 330), (10, 1.0, 10), (10, 0.0, 0), (3, 0.5, 2)]
        {
            let chosen = some_of(people, share, &mut random);
            assert_eq!(chosen.len(), wanted, "{share} of {people}");
            assert!(chosen.is_sorted_by(|a, b| a < b));
        }
        // Not always the same ones.
        assert_ne!(some_of(1_000, 0.1, &mut random), some_of(1_000, 0.1, &mut random));
    }
}
