//! Connections, and the turn of the loop.

use std::io;

use rustls::client::UnbufferedClientConnection;

use super::fill::Filling;
use super::order::{Config, Connected};
use super::phase::Running;
use super::tally::Wrongs;
use super::visit::{Visit, Way};
use crate::driver::{Driver, DriverError, Told};
use crate::engine::pipe::{Pipe, PipeError, Received, Scratch};
use crate::engine::poll::{Poll, Wait, now_ns};
use crate::engine::target::TargetError;
use crate::host::{self, Process};
use crate::scenario::layout::Layout;
use crate::schedule::Random;

/// The token of standard input.
pub(super) const ORDERS: u64 = u64::MAX - 1;
/// Every connection's timers are looked at once in this many sweeps.
const SWEEPS: usize = 64;
/// Time between two sweeps, nanoseconds. 64 of them are well below the shortest heartbeat.
const SWEEP_NS: u64 = 50_000_000;
/// Ready sockets served before the schedule is looked at again.
const SERVED_PER_LOOK: usize = 8;
/// Closings quoted in a report.
const CLOSINGS_QUOTED: usize = 5;
/// Descriptors of a worker beside its connections.
const OTHER_DESCRIPTORS: u64 = 32;

/// Why a worker gives up.
#[derive(thiserror::Error, Debug)]
pub(super) enum WorkError {
    /// The target cannot be used.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// The driver cannot be made.
    #[error("{0}")]
    Driver(#[from] DriverError),
    /// The target does not answer, or not as it should.
    #[error("{0}")]
    Unreachable(String),
    /// The system refuses.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The target refuses what the run needs.
    #[error("{0}")]
    Refused(String),
}

/// What a connection is to do with what comes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reading {
    /// Read it at once.
    AtOnce,
    /// Read at most so many bytes a second; 0: nothing.
    Slowly(u32),
    /// Read at once, but what comes waited for this reader: its time says nothing.
    CatchingUp,
}

/// One connection. `pipe` is gone while it is away.
pub(super) struct Conn<T> {
    pub(super) pipe: Option<Pipe<UnbufferedClientConnection>>,
    pub(super) talk: Option<T>,
    /// When it was meant to begin, nanoseconds.
    pub(super) begun_ns: u64,
    pub(super) live: bool,
    /// When a message of it was last answered, nanoseconds.
    pub(super) answered_ns: u64,
    /// Attempts to come back after the scenario broke it; 0: it is here for the first time.
    pub(super) attempts: u8,
    pub(super) reading: Reading,
    /// It only visits.
    pub(super) visit: Option<Visit>,
}

/// See the module.
pub(super) struct World<D: Driver> {
    pub(super) config: Config,
    pub(super) driver: D,
    pub(super) layout: Layout,
    pub(super) poll: Poll,
    pub(super) conns: Vec<Conn<D::Talk>>,
    /// Connections that are live, and those that were begun and are not.
    pub(super) live: usize,
    pub(super) opening: usize,
    pub(super) connected: Connected,
    pub(super) random: Random,
    /// The phase that runs.
    pub(super) running: Option<Box<Running>>,
    /// A store is being filled.
    pub(super) filling: Option<Filling>,
    pub(super) wrongs: Wrongs,
    /// Connections lost since somebody last asked, and what the first few said.
    pub(super) lost: u64,
    pub(super) closings: Vec<String>,
    /// Steps of the set-up that were answered.
    pub(super) settled: u64,
    /// Parts of channels that were read back: (channel, rows, next).
    pub(super) read_back: Vec<(u32, u32, Option<u64>)>,
    /// What the target refuses, though the run needs it.
    pub(super) unusable: Option<String>,
    pub(super) orders: Vec<u8>,
    /// The controller is gone.
    pub(super) over: bool,
    /// Ciphertext that came in over connections that are gone, bytes.
    bytes_in_before: u64,
    scratch: Scratch,
    plain: Vec<u8>,
    out: Vec<u8>,
    told: Vec<Told>,
    ready: Vec<u64>,
    next_sweep_ns: u64,
    sweep: usize,
}

impl<D: Driver> World<D> {
    pub(super) fn new(config: Config, driver: D) -> Result<Self, WorkError> {
        let limit = host::raise_descriptor_limit();
        if u64::from(config.people) + OTHER_DESCRIPTORS > limit {
            return Err(WorkError::Refused(format!(
                "{} connections need more than the {limit} descriptors that this process may have; \
                 use more workers (--per-worker)",
                config.people
            )));
        }
        let connected = Connected {
            own: (Process::read(std::process::id()).unwrap_or_default(), Process::default()),
            ..Connected::default()
        };
        let world = Self {
            layout: Layout::new(config.people, &config.classes),
            random: Random::new(config.run ^ u64::from(config.worker) << 40),
            conns: Vec::with_capacity(config.people as usize),
            config,
            driver,
            poll: Poll::new()?,
            live: 0,
            opening: 0,
            connected,
            running: None,
            filling: None,
            wrongs: Wrongs::default(),
            lost: 0,
            closings: Vec::new(),
            settled: 0,
            read_back: Vec::new(),
            unusable: None,
            orders: Vec::new(),
            over: false,
            bytes_in_before: 0,
            scratch: Scratch::default(),
            plain: Vec::new(),
            out: Vec::new(),
            told: Vec::new(),
            ready: Vec::new(),
            next_sweep_ns: now_ns(),
            sweep: 0,
        };
        world.watch_orders()?;
        Ok(world)
    }

    pub(super) fn leave(self) {
        for conn in self.conns {
            if let Some(pipe) = conn.pipe {
                pipe.abandon();
            }
        }
    }

    /// Waits for sockets or for `wake_ns`, serves what is ready, and does what is due.
    pub(super) fn turn(&mut self, wake_ns: Option<u64>) -> Result<(), WorkError> {
        let wake_ns = wake_ns.map_or(self.next_sweep_ns, |wake| wake.min(self.next_sweep_ns));
        let wait = if self.config.spin { Wait::Not } else { Wait::Until(wake_ns) };
        let mut ready = std::mem::take(&mut self.ready);
        self.poll.wait(wait, &mut ready)?;
        for (served, &token) in ready.iter().enumerate() {
            if served % SERVED_PER_LOOK == 0 {
                self.do_due()?;
            }
            if token == ORDERS {
                self.read_orders()?;
            } else if let Ok(conn) = u32::try_from(token) {
                self.serve(conn, usize::MAX);
            }
        }
        self.ready = ready;
        self.do_due()?;
        self.sweep();
        match self.unusable.take() {
            Some(why) => Err(WorkError::Refused(why)),
            None => Ok(()),
        }
    }

    /// Reads what came for a connection, about `bytes` of it at most, and hears it.
    pub(super) fn serve(&mut self, index: u32, bytes: usize) {
        let slow = matches!(self.conns[index as usize].reading, Reading::Slowly(_));
        if slow && bytes == usize::MAX {
            return;
        }
        if let Err(why) = self.try_serve(index, bytes) {
            self.lose(index, &why);
        }
        if !self.told.is_empty() {
            let mut told = std::mem::take(&mut self.told);
            let now_ns = now_ns();
            told.drain(..).for_each(|told| self.hear(index, told, now_ns));
            self.told = told;
        }
        self.end_visit_if_over(index);
    }

    fn try_serve(&mut self, index: u32, bytes: usize) -> Result<(), String> {
        let Self { conns, driver, scratch, plain, out, told, .. } = self;
        let conn = &mut conns[index as usize];
        let Some(pipe) = &mut conn.pipe else { return Ok(()) };
        let text = |error: PipeError| error.to_string();
        pipe.flush().map_err(text)?;
        if let Some(visit) = &mut conn.visit
            && visit.breaks_before_reading(pipe, conn.talk.is_some())
        {
            return Ok(());
        }
        plain.clear();
        out.clear();
        let received = match bytes {
            usize::MAX => pipe.receive(scratch, plain),
            bytes => pipe.receive_at_most(scratch, plain, bytes),
        };
        let received = received.map_err(text)?;
        let now_ns = now_ns();
        if conn.talk.is_none() && pipe.handshaken() {
            self.connected.handshake.record_ns(now_ns.saturating_sub(conn.begun_ns));
            if let Some(visit) = &mut conn.visit
                && visit.reaches(Way::Handshaken)
            {
                return Ok(());
            }
            conn.talk = Some(driver.log_in(index, now_ns, out));
            if let Some(visit) = &mut conn.visit {
                let half = out.len() / 2;
                out.truncate(if visit.reaches(Way::HalfHello) { half } else { out.len() });
                if visit.over || visit.reaches(Way::Hello) {
                    return pipe.send(scratch, out).map_err(text);
                }
            }
        }
        if let Some(talk) = &mut conn.talk
            && !plain.is_empty()
        {
            driver.hear(index, talk, plain, now_ns, out, told).map_err(|broken| broken.0)?;
        }
        if !out.is_empty() {
            pipe.send(scratch, out).map_err(text)?;
        }
        if received == Received::End { Err("the target closed".into()) } else { Ok(()) }
    }

    /// Lets the driver say something on a live connection. `false`: it is not live.
    pub(super) fn say(
        &mut self,
        index: u32,
        say: impl FnOnce(&mut D, &mut D::Talk, u64, &mut Vec<u8>),
    ) -> bool {
        let Self { conns, driver, scratch, out, .. } = self;
        let conn = &mut conns[index as usize];
        let (Some(pipe), Some(talk), true) = (&mut conn.pipe, &mut conn.talk, conn.live) else {
            return false;
        };
        out.clear();
        say(driver, talk, now_ns(), out);
        match pipe.send(scratch, out) {
            Ok(()) => true,
            Err(error) => {
                self.lose(index, &error.to_string());
                false
            }
        }
    }

    /// A connection broke without being asked to.
    pub(super) fn lose(&mut self, index: u32, why: &str) {
        let slow = matches!(self.conns[index as usize].reading, Reading::Slowly(_));
        if self.conns[index as usize].visit.is_some() {
            return self.visit_broke(index, why);
        }
        if !self.take_down(index) {
            return;
        }
        if self.it_stopped() {
            return;
        }
        if slow {
            self.slow_was_cut(index);
        } else if !self.try_again(index) {
            self.note_loss(index, why);
        }
    }

    pub(super) fn note_loss(&mut self, index: u32, why: &str) {
        self.lost += 1;
        if self.closings.len() < CLOSINGS_QUOTED {
            self.closings.push(format!("connection {index}: {why}"));
        }
    }

    /// Ends a connection, with a reset. `false`: it was away already.
    pub(super) fn take_down(&mut self, index: u32) -> bool {
        let conn = &mut self.conns[index as usize];
        let Some(pipe) = conn.pipe.take() else { return false };
        self.bytes_in_before += pipe.bytes_in;
        pipe.abandon();
        if let Some(talk) = conn.talk.take() {
            self.driver.gone(index, talk);
        }
        if std::mem::take(&mut conn.live) {
            self.live -= 1;
        } else {
            self.opening -= 1;
        }
        self.stop_scrolling(index);
        true
    }

    /// Looks at the timers of a 64th of the connections, if it is time.
    fn sweep(&mut self) {
        let now_ns = now_ns();
        if now_ns < self.next_sweep_ns {
            return;
        }
        self.next_sweep_ns = now_ns + SWEEP_NS;
        self.sweep = (self.sweep + 1) % SWEEPS;
        for index in (self.sweep..self.conns.len()).step_by(SWEEPS) {
            if !matches!(self.conns[index].reading, Reading::Slowly(_)) {
                self.tick(index as u32, now_ns);
            }
        }
    }

    fn tick(&mut self, index: u32, now_ns: u64) {
        let Self { conns, driver, scratch, out, .. } = self;
        let conn = &mut conns[index as usize];
        let (Some(pipe), Some(talk)) = (&mut conn.pipe, &mut conn.talk) else { return };
        out.clear();
        let result = driver.tick(index, talk, now_ns, out).map_err(|broken| broken.0);
        let result = result.and_then(|()| {
            if out.is_empty() { Ok(()) } else { pipe.send(scratch, out).map_err(|e| e.to_string()) }
        });
        if let Err(why) = result {
            self.lose(index, &why);
        }
    }

    /// Ciphertext that came in so far, bytes.
    pub(super) fn bytes_in(&self) -> u64 {
        let here = self.conns.iter().filter_map(|conn| conn.pipe.as_ref());
        self.bytes_in_before + here.map(|pipe| pipe.bytes_in).sum::<u64>()
    }
}
