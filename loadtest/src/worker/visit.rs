//! Visits: to come, log in, resume and go, again and again; some are broken off on the way.
//!
//! ```text
//! connect -> ClientHello -> server's flight -> Finished -> Hello -> Welcome, replay -> live -> end
//!        |       |    half              |              |    |   half |
//!        Connected  HalfHandshake  Unanswered   Handshaken  HalfHello Hello  Unheard   Whole, Ended
//! ```
//!
//! Visits are planned at a steady rate, and begin when a visitor is at leisure. Whoever visits sends
//! nothing, and is timed nowhere, but must have everything in the end like anybody else.

use std::collections::VecDeque;

use rustls::client::UnbufferedClientConnection;

use super::befall::some_of;
use super::order::PhaseOrder;
use super::world::{Reading, World};
use crate::driver::Driver;
use crate::engine::pipe::Pipe;
use crate::engine::poll::now_ns;
use crate::report::stress;
use crate::schedule::Random;

/// Where no visitor is at leisure, or too many are on their way, it is looked at again so soon.
const LOOK_NS: u64 = 5_000_000;
/// Visitors who come back for good do so this far apart.
const BACK_NS: u64 = 2_000_000;
/// One whole visit in so many ends its own direction first and waits for the target's end: each
/// leaves a port in TIME_WAIT for a minute, of which a source address has 28,000.
const ENDED_ONE_IN: u64 = 10;

/// How a visit ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// Live, then a reset.
    Whole,
    /// Live, then the end of its own direction, and the target's.
    Ended,
    /// Broken off, in the order of the way in: connected, nothing said.
    Connected,
    /// Half of the ClientHello is said.
    HalfHandshake,
    /// The target's flight is there and stays unread.
    Unanswered,
    /// The handshake is over, nothing is said.
    Handshaken,
    /// Half of the Hello is said.
    HalfHello,
    /// Hello is said, and nobody waits for an answer.
    Hello,
    /// The first bytes after Hello are there and stay unread.
    Unheard,
}

impl Way {
    /// Those that are broken off, in order.
    const BROKEN: [Self; 7] = [
        Self::Connected,
        Self::HalfHandshake,
        Self::Unanswered,
        Self::Handshaken,
        Self::HalfHello,
        Self::Hello,
        Self::Unheard,
    ];

    /// As reports name it.
    fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Ended => "ended",
            Self::Connected => "connected",
            Self::HalfHandshake => "half a handshake",
            Self::Unanswered => "flight unanswered",
            Self::Handshaken => "no Hello",
            Self::HalfHello => "half a Hello",
            Self::Hello => "Hello only",
            Self::Unheard => "Welcome unheard",
        }
    }
}

/// The visit that a connection is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Visit {
    pub(super) way: Way,
    /// It is as far as it goes.
    pub(super) over: bool,
}

impl Visit {
    /// The connection is at the step `way`; whether the visit ends there.
    pub(super) fn reaches(&mut self, way: Way) -> bool {
        self.over |= self.way == way;
        self.over
    }

    /// Something is there, and nothing is read any more.
    pub(super) fn breaks_before_reading(
        &mut self,
        pipe: &Pipe<UnbufferedClientConnection>,
        said_hello: bool,
    ) -> bool {
        self.over |= match self.way {
            Way::Connected | Way::HalfHandshake => true,
            Way::Unanswered => pipe.has_input(),
            Way::Unheard => said_hello && pipe.has_input(),
            _ => false,
        };
        self.over
    }
}

/// The visitors of a phase.
pub(super) struct Visits {
    people: Vec<u32>,
    leisure: VecDeque<u32>,
    start_ns: u64,
    per_second: f64,
    broken: f64,
    planned: u64,
    begun: u64,
    broken_off: usize,
    /// When to look again, if nobody could come when it was time.
    not_before_ns: u64,
    random: Random,
}

impl Visits {
    /// When the next one begins.
    pub(super) fn next_ns(&self) -> u64 {
        if self.begun >= self.planned {
            return u64::MAX;
        }
        let offset_ns = (self.begun as f64 / self.per_second * 1e9) as u64;
        (self.start_ns + offset_ns).max(self.not_before_ns)
    }

    /// Some are still to come, or on their way.
    pub(super) fn is_open(&self) -> bool {
        self.begun < self.planned || self.leisure.len() < self.people.len()
    }

    /// How the next one ends.
    fn way(&mut self) -> Way {
        if self.random.unit() >= self.broken {
            let ended = self.random.below(ENDED_ONE_IN as u32) == 0;
            return if ended { Way::Ended } else { Way::Whole };
        }
        self.broken_off += 1;
        Way::BROKEN[self.broken_off % Way::BROKEN.len()]
    }
}

impl<D: Driver> World<D> {
    /// Some only visit from now on.
    pub(super) fn begin_visits(&mut self, order: &PhaseOrder) {
        let Some(visits) = order.visits else { return };
        let mut random = Random::new(order.seed ^ 0x0005_1517);
        let people = some_of(self.layout.people(), visits.share, &mut random);
        for &conn in &people {
            self.take_down(conn);
            self.conns[conn as usize].reading = Reading::CatchingUp;
        }
        let planned = (visits.per_second * order.seconds) as u64;
        let Some(running) = &mut self.running else { return };
        running.ran.visits = Some(stress::Visits {
            visitors: people.len() as u64,
            planned,
            ..stress::Visits::default()
        });
        running.fates.visits = Some(Visits {
            leisure: people.iter().copied().collect(),
            people,
            start_ns: order.start_ns,
            per_second: visits.per_second,
            broken: visits.broken,
            planned,
            begun: 0,
            broken_off: 0,
            not_before_ns: 0,
            random,
        });
    }

    /// Begins the visit whose time has come.
    pub(super) fn visit(&mut self, now_ns: u64) {
        let Some(running) = &mut self.running else { return };
        let Some(visits) = &mut running.fates.visits else { return };
        let room = self.opening < self.config.opening_max;
        let Some(conn) = room.then(|| visits.leisure.pop_front()).flatten() else {
            visits.not_before_ns = now_ns + LOOK_NS;
            return;
        };
        visits.begun += 1;
        let visit = Visit { way: visits.way(), over: false };
        let here = &mut self.conns[conn as usize];
        here.visit = Some(visit);
        here.attempts = 1;
        here.begun_ns = now_ns;
        if let Err(why) = self.begin(conn) {
            self.visit_broke(conn, &why);
        }
    }

    /// A connection is live; if it only visits, it goes.
    pub(super) fn visitor_is_live(&mut self, conn: u32) {
        let conn = &mut self.conns[conn as usize];
        let Some(visit) = &mut conn.visit else { return };
        if visit.way == Way::Ended {
            conn.pipe.iter().for_each(Pipe::end);
        } else {
            visit.over = true;
        }
    }

    /// Ends a visit that is as far as it goes.
    pub(super) fn end_visit_if_over(&mut self, conn: u32) {
        if let Some(visit) = self.conns[conn as usize].visit.filter(|visit| visit.over) {
            self.visited(conn, visit.way);
        }
    }

    /// A visitor's connection broke: the last step of a visit that ends so, and a loss otherwise.
    pub(super) fn visit_broke(&mut self, conn: u32, why: &str) {
        let here = &self.conns[conn as usize];
        let Some(visit) = here.visit else { return };
        if visit.over || (visit.way == Way::Ended && here.live) {
            return self.visited(conn, visit.way);
        }
        self.note_loss(conn, &format!("visit ({}): {why}", visit.way.name()));
        if let Some(visits) = self.running.as_mut().and_then(|running| running.ran.visits.as_mut())
        {
            visits.failed += 1;
        }
        self.go(conn);
    }

    fn visited(&mut self, conn: u32, way: Way) {
        self.go(conn);
        let Some(running) = &mut self.running else { return };
        running.second_visits += 1;
        let Some(visits) = &mut running.ran.visits else { return };
        match way {
            Way::Whole | Way::Ended => visits.whole += 1,
            broken => *visits.broken.entry(broken.name().into()).or_default() += 1,
        }
    }

    fn go(&mut self, conn: u32) {
        self.take_down(conn);
        self.conns[conn as usize].visit = None;
        if let Some(visits) = self.running.as_mut().and_then(|r| r.fates.visits.as_mut()) {
            visits.leisure.push_back(conn);
        }
    }

    /// Everybody comes back to stay.
    pub(super) fn end_visits(&mut self) {
        let Some(visits) = self.running.as_mut().and_then(|r| r.fates.visits.take()) else {
            return;
        };
        let now_ns = now_ns();
        for (nth, conn) in (0..).zip(visits.people) {
            // Wherever it was: a visit that does not end in time is none.
            self.take_down(conn);
            self.conns[conn as usize].visit = None;
            self.comes_back_at(conn, now_ns + nth * BACK_NS);
        }
    }
}
