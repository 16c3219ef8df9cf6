//! The ramp: connections begin at a steady rate, and a bounded number at a time is under way.
//! And coming back, after the scenario broke a connection.

use std::time::Duration;

use super::order::Report;
use super::visit::Way;
use super::world::{Conn, Reading, WorkError, World};
use crate::driver::Driver;
use crate::engine::poll::now_ns;
use crate::engine::socket::connect;
use crate::host::Process;

/// How long the ramp may stand still.
const STALL: Duration = Duration::from_secs(15);
/// This many connections may be lost before the target counts as unreachable.
const LOST_MAX: u64 = 10;

impl<D: Driver> World<D> {
    pub(super) fn connect(&mut self) -> Result<Report, WorkError> {
        let started = now_ns();
        let gap_ns = (1e9 / self.config.connect_per_second) as u64;
        let all = self.config.people as usize;
        let mut progress = (0, started);
        while self.live < all {
            let mut next = started + gap_ns * self.conns.len() as u64;
            if self.conns.len() == all || self.opening >= self.config.opening_max {
                next = u64::MAX;
            } else if now_ns() >= next {
                self.begin_new(next)?;
                continue;
            }
            self.turn(Some(next))?;
            if self.lost > LOST_MAX || (self.lost > 0 && self.live == 0) {
                let why = self.closings.join("; ");
                return Err(WorkError::Unreachable(format!("connections were lost: {why}")));
            }
            if self.lost > 0 && self.live + self.lost as usize == all {
                break;
            }
            if self.live > progress.0 {
                progress = (self.live, now_ns());
            } else if now_ns() - progress.1 > STALL.as_nanos() as u64 {
                return Err(WorkError::Unreachable(format!(
                    "{} of {all} connections are live, {} under way, and none came in {} s",
                    self.live,
                    self.opening,
                    STALL.as_secs()
                )));
            }
        }
        self.connected.seconds = (now_ns() - started) as f64 / 1e9;
        self.connected.own.1 = Process::read(std::process::id()).unwrap_or_default();
        Ok(Report::Connected(Box::new(self.connected.clone())))
    }

    /// Begins the next connection, meant for `intended_ns`.
    fn begin_new(&mut self, intended_ns: u64) -> Result<(), WorkError> {
        let index = self.conns.len() as u32;
        self.conns.push(Conn {
            pipe: None,
            talk: None,
            begun_ns: intended_ns,
            live: false,
            answered_ns: 0,
            attempts: 0,
            reading: Reading::AtOnce,
            visit: None,
        });
        self.begin(index).map_err(WorkError::Unreachable)
    }

    /// Begins connection `index`, which is not there.
    pub(super) fn begin(&mut self, index: u32) -> Result<(), String> {
        let target = self.driver.target();
        let address = target.address;
        let socket =
            connect(address, self.config.source).map_err(|error| format!("{address}: {error}"))?;
        self.poll.watch(&socket, index.into()).map_err(|error| error.to_string())?;
        let mut pipe = target.pipe(socket).map_err(|error| error.to_string())?;
        let mut nothing = Vec::new();
        let conn = &mut self.conns[index as usize];
        match conn.visit {
            Some(visit) if visit.way == Way::Connected => {}
            Some(visit) if visit.way == Way::HalfHandshake => {
                pipe.start_in_part(&mut nothing).map_err(|error| error.to_string())?
            }
            _ => pipe.start(&mut nothing).map_err(|error| error.to_string())?,
        }
        conn.pipe = Some(pipe);
        self.opening += 1;
        Ok(())
    }

    /// Connection `index` is live.
    pub(super) fn came_live(&mut self, index: u32, now_ns: u64) {
        let conn = &mut self.conns[index as usize];
        if std::mem::replace(&mut conn.live, true) {
            return;
        }
        self.live += 1;
        self.opening -= 1;
        let took_ns = now_ns.saturating_sub(conn.begun_ns);
        if conn.attempts == 0 {
            self.connected.login.record_ns(took_ns);
        } else {
            conn.attempts = 0;
            self.came_back(took_ns, now_ns);
        }
        self.visitor_is_live(index);
    }
}
