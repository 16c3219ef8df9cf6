//! One worker: its connections, its loop, and the orders it carries out.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use damso_proto::client::{Ask, ClientConn};
use damso_proto::time::Moment;
use rustls::client::UnbufferedClientConnection;

use super::desk::{Asked, Desk, Then};
use super::order::{Config, Connected, Order, Report};
use crate::engine::pipe::{Pipe, PipeError, Received, Scratch};
use crate::engine::poll::{Poll, Wait, now_ns, unix_ms};
use crate::engine::target::{Issuer, Target, TargetError};
use crate::host;
use crate::schedule::{Planned, Random};

/// The token of standard input.
const ORDERS: u64 = u64::MAX - 1;
/// Every connection's timers are looked at once in this many sweeps.
const SWEEPS: usize = 64;
/// Time between two sweeps, nanoseconds. 64 of them are well below the shortest heartbeat.
const SWEEP_NS: u64 = 50_000_000;
/// Ready sockets served before the schedule is looked at again.
const SERVED_PER_LOOK: usize = 8;
/// The longest order, bytes.
const ORDER_BYTES_MAX: usize = 64 * 1024;

/// Why a worker gives up.
#[derive(thiserror::Error, Debug)]
pub(super) enum WorkError {
    /// The target cannot be used.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// The target does not answer, or not as it should.
    #[error("{0}")]
    Unreachable(String),
    /// The system refuses.
    #[error("{0}")]
    System(#[from] io::Error),
    /// An order that is none.
    #[error("order: {0}")]
    Order(#[from] serde_json::Error),
    /// The target refuses what the run needs.
    #[error("{0}")]
    Refused(String),
}

/// One connection. `pipe` is gone when it is lost.
pub(super) struct Conn {
    pub(super) pipe: Option<Pipe<UnbufferedClientConnection>>,
    pub(super) talk: Option<ClientConn>,
    /// When it was meant to begin, nanoseconds.
    pub(super) begun_ns: u64,
}

/// See the module.
pub(super) struct Worker {
    pub(super) config: Config,
    pub(super) target: Target,
    pub(super) issuer: Option<Issuer>,
    pub(super) poll: Poll,
    pub(super) conns: Vec<Conn>,
    pub(super) desk: Desk,
    pub(super) connected: Connected,
    /// Connections that are open, and those that were begun and are not.
    pub(super) open: usize,
    pub(super) opening: usize,
    /// Channel numbers, by index.
    pub(super) channels: Vec<u64>,
    pub(super) random: Random,
    /// The running phase's plan, and how much of it is done.
    pub(super) plan: Vec<Planned>,
    pub(super) planned_at: usize,
    pub(super) start_ns: u64,
    scratch: Scratch,
    plain: Vec<u8>,
    pub(super) out: Vec<u8>,
    ready: Vec<u64>,
    next_sweep_ns: u64,
    sweep: usize,
    orders: Vec<u8>,
    /// The controller is gone.
    over: bool,
}

/// Works through orders from standard input until it ends. The first line is the configuration.
///
/// # Errors
/// The controller is gone, or says what no worker understands. Everything else is reported to it.
pub fn work() -> io::Result<()> {
    let config: Config = serde_json::from_slice(&first_line()?)?;
    match Worker::new(config) {
        Ok(mut worker) => {
            while let Some(order) = worker.next_order()? {
                let report = worker.carry_out(order);
                tell(&report.unwrap_or_else(|error| failed(&error)))?;
            }
            worker.leave();
            Ok(())
        }
        Err(error) => tell(&failed(&error)),
    }
}

/// The first line, read byte by byte: what follows belongs to the loop.
fn first_line() -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < ORDER_BYTES_MAX && rustix::io::read(io::stdin(), &mut byte)? == 1 {
        if byte[0] == b'\n' {
            break;
        }
        line.push(byte[0]);
    }
    Ok(line)
}

fn tell(report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

fn failed(error: &WorkError) -> Report {
    let unreachable = matches!(error, WorkError::Unreachable(_));
    Report::Failed { unreachable, what: error.to_string() }
}

/// Nanoseconds as the machines' time.
pub(super) fn moment(ns: u64) -> Moment {
    Moment::from_micros(ns / 1_000)
}

impl Worker {
    fn new(config: Config) -> Result<Self, WorkError> {
        let target = Target::parse(&config.url)?;
        let issuer = config.token_key.as_deref().map(Issuer::read).transpose()?;
        let limit = host::raise_descriptor_limit();
        if u64::from(config.connections) + 32 > limit {
            return Err(WorkError::Refused(format!(
                "{} connections need more than the {limit} descriptors that this process may have; \
                 use more workers (--per-worker)",
                config.connections
            )));
        }
        let poll = Poll::new()?;
        poll.watch_level(io::stdin().as_fd(), ORDERS)?;
        rustix::io::ioctl_fionbio(io::stdin(), true).map_err(io::Error::from)?;
        Ok(Self {
            desk: Desk::new(config.run),
            random: Random::new(config.run ^ u64::from(config.worker) << 48),
            conns: Vec::with_capacity(config.connections as usize),
            channels: Vec::new(),
            config,
            target,
            issuer,
            poll,
            connected: Connected::default(),
            open: 0,
            opening: 0,
            plan: Vec::new(),
            planned_at: 0,
            start_ns: 0,
            scratch: Scratch::default(),
            plain: Vec::new(),
            out: Vec::new(),
            ready: Vec::new(),
            next_sweep_ns: now_ns(),
            sweep: 0,
            orders: Vec::new(),
            over: false,
        })
    }

    /// Serves its connections until an order comes. `None`: the controller is gone.
    fn next_order(&mut self) -> io::Result<Option<Order>> {
        loop {
            if let Some(end) = self.orders.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.orders.drain(..=end).collect();
                return Ok(Some(serde_json::from_slice(&line)?));
            }
            if self.over {
                return Ok(None);
            }
            self.turn(None).map_err(io::Error::other)?;
        }
    }

    fn carry_out(&mut self, order: Order) -> Result<Report, WorkError> {
        match order {
            Order::Connect => self.connect(),
            Order::Group => self.group(),
            Order::Run(phase) => self.run_phase(phase),
            Order::Judge { history } => self.judge(history),
        }
    }

    fn leave(self) {
        for conn in self.conns {
            if let Some(pipe) = conn.pipe {
                pipe.abandon();
            }
        }
    }

    /// Waits for sockets or for `wake_ns`, and serves what is ready.
    pub(super) fn turn(&mut self, wake_ns: Option<u64>) -> Result<(), WorkError> {
        let wake_ns = wake_ns.map_or(self.next_sweep_ns, |wake| wake.min(self.next_sweep_ns));
        let wait = if self.config.spin { Wait::Not } else { Wait::Until(wake_ns) };
        let mut ready = std::mem::take(&mut self.ready);
        self.poll.wait(wait, &mut ready)?;
        for (served, &token) in ready.iter().enumerate() {
            if served % SERVED_PER_LOOK == 0 {
                self.send_due();
            }
            if token == ORDERS {
                self.read_orders()?;
            } else if let Ok(conn) = u32::try_from(token) {
                self.serve(conn);
            }
        }
        self.ready = ready;
        self.send_due();
        self.sweep();
        Ok(())
    }

    fn read_orders(&mut self) -> Result<(), WorkError> {
        let mut buffer = [0; 4_096];
        match rustix::io::read(io::stdin(), &mut buffer) {
            Ok(0) => {
                self.over = true;
                self.poll.forget(io::stdin().as_fd())?;
            }
            Ok(read) if self.orders.len() + read <= ORDER_BYTES_MAX => {
                self.orders.extend_from_slice(&buffer[..read]);
            }
            Ok(_) => return Err(WorkError::Refused("an order without an end".into())),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        Ok(())
    }

    /// Reads what came for a connection, and hears it.
    fn serve(&mut self, index: u32) {
        if let Err(error) = self.try_serve(index) {
            self.lose(index, &error.to_string());
        }
    }

    fn try_serve(&mut self, index: u32) -> Result<(), PipeError> {
        let Self { conns, desk, scratch, plain, out, .. } = self;
        let conn = &mut conns[index as usize];
        let Some(pipe) = &mut conn.pipe else { return Ok(()) };
        pipe.flush()?;
        plain.clear();
        let received = pipe.receive(scratch, plain)?;
        let now = now_ns();
        let mut opened = false;
        let mut closed = received == Received::End;
        if let Some(talk) = &mut conn.talk {
            out.clear();
            let mut input = plain.as_slice();
            let mut pings = Vec::new();
            while let Some(heard) = talk
                .next(&mut input, moment(now))
                .map_err(|fault| PipeError::Socket(io::Error::other(fault)))?
            {
                match desk.hear(index, heard, now) {
                    Then::Nothing => {}
                    Then::Pong(id) => pings.push(id),
                    Then::Opened => opened = true,
                    Then::Closed => closed = true,
                }
            }
            for id in pings {
                talk.pong(id, unix_ms(), moment(now), out);
            }
            if !out.is_empty() {
                pipe.send(scratch, out)?;
            }
        } else if pipe.handshaken() {
            self.log_in(index, now)?;
        }
        if opened {
            self.opened(index, now);
        }
        if closed {
            Err(PipeError::Socket(io::ErrorKind::ConnectionAborted.into()))
        } else {
            Ok(())
        }
    }

    fn opened(&mut self, index: u32, now: u64) {
        let begun = self.conns[index as usize].begun_ns;
        self.connected.login.record_ns(now.saturating_sub(begun));
        self.open += 1;
        self.opening -= 1;
    }

    pub(super) fn lose(&mut self, index: u32, why: &str) {
        let conn = &mut self.conns[index as usize];
        if let Some(pipe) = conn.pipe.take() {
            let was_open = conn.talk.take().is_some_and(|talk| talk.is_open());
            if was_open {
                self.open -= 1
            } else {
                self.opening -= 1
            }
            self.desk.lost(index, why);
            pipe.abandon();
        }
    }

    /// Sends a request on an open connection. `false`: it is not open.
    pub(super) fn ask(&mut self, index: u32, ask: Ask, asked: Asked) -> bool {
        let Self { conns, desk, scratch, out, .. } = self;
        let conn = &mut conns[index as usize];
        let (Some(pipe), Some(talk)) = (&mut conn.pipe, &mut conn.talk) else { return false };
        if !talk.is_open() {
            return false;
        }
        out.clear();
        let id = talk.ask(ask, moment(now_ns()), out);
        desk.ask(index, id.get(), asked);
        match pipe.send(scratch, out) {
            Ok(()) => true,
            Err(error) => {
                self.lose(index, &error.to_string());
                false
            }
        }
    }

    /// Writes plain bytes on a connection.
    pub(super) fn write(&mut self, index: u32, bytes: &[u8]) -> Result<(), PipeError> {
        match &mut self.conns[index as usize].pipe {
            Some(pipe) => pipe.send(&mut self.scratch, bytes),
            None => Ok(()),
        }
    }

    /// Looks at the timers of a 64th of the connections, if it is time.
    fn sweep(&mut self) {
        let now = now_ns();
        if now < self.next_sweep_ns {
            return;
        }
        self.next_sweep_ns = now + SWEEP_NS;
        self.sweep = (self.sweep + 1) % SWEEPS;
        for index in (self.sweep..self.conns.len()).step_by(SWEEPS) {
            let Some(talk) = &mut self.conns[index].talk else { continue };
            let mut out = Vec::new();
            let result = talk.handle_timeout(moment(now), &mut out);
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            match result {
                Err(silence) => self.lose(index, &silence.to_string()),
                Ok(()) if out.is_empty() => {}
                Ok(()) => {
                    if let Err(error) = self.write(index, &out) {
                        self.lose(index, &error.to_string());
                    }
                }
            }
        }
    }

    /// Ciphertext moved so far, (in, out) bytes.
    pub(super) fn moved_bytes(&self) -> (u64, u64) {
        self.conns
            .iter()
            .filter_map(|conn| conn.pipe.as_ref())
            .fold((0, 0), |sum, pipe| (sum.0 + pipe.bytes_in, sum.1 + pipe.bytes_out))
    }
}
