//! The ramp: connections begin at a steady rate, and a bounded number at a time is under way.

use std::time::Duration;

use damso_proto::client::ClientConn;
use damso_proto::wire;

use super::order::Report;
use super::worker::{Conn, WorkError, Worker, moment};
use crate::engine::pipe::PipeError;
use crate::engine::poll::{now_ns, unix_ms};
use crate::engine::socket::connect;
use crate::host::Process;

/// Connections under way at once: what a listen backlog holds without dropping one.
const OPENING_MAX: usize = 256;
/// How long the ramp may stand still.
const STALL: Duration = Duration::from_secs(15);
/// How long a token is good, seconds: longer than any run.
const TOKEN_SECONDS: u64 = 6 * 3_600;
/// This many connections may be lost before the target counts as unreachable.
const LOST_MAX: u64 = 10;

impl Worker {
    pub(super) fn connect(&mut self) -> Result<Report, WorkError> {
        let started = now_ns();
        let gap_ns = (1e9 / self.config.connect_rate) as u64;
        let all = self.config.connections as usize;
        let mut progress = (0, started);
        while self.open < all {
            let mut next = started + gap_ns * self.conns.len() as u64;
            if self.conns.len() == all || self.opening >= OPENING_MAX {
                next = u64::MAX;
            } else if now_ns() >= next {
                self.begin(next)?;
                continue;
            }
            self.turn(Some(next))?;
            if self.desk.ran.lost > LOST_MAX || (self.desk.ran.lost > 0 && self.open == 0) {
                let why = self.desk.ran.closings.join("; ");
                return Err(WorkError::Unreachable(format!("connections were lost: {why}")));
            }
            if self.desk.ran.lost > 0 && self.open + self.desk.ran.lost as usize == all {
                break;
            }
            if self.open > progress.0 {
                progress = (self.open, now_ns());
            } else if now_ns() - progress.1 > STALL.as_nanos() as u64 {
                return Err(WorkError::Unreachable(format!(
                    "{} of {all} connections are open, {} under way, and none came in {} s",
                    self.open,
                    self.opening,
                    STALL.as_secs()
                )));
            }
        }
        self.connected.seconds = (now_ns() - started) as f64 / 1e9;
        self.connected.own = Process::read(std::process::id()).unwrap_or_default();
        Ok(Report::Connected(Box::new(self.connected.clone())))
    }

    /// Begins the next connection, meant for `intended_ns`.
    fn begin(&mut self, intended_ns: u64) -> Result<(), WorkError> {
        let address = self.target.address;
        let socket = connect(address, None)
            .map_err(|error| WorkError::Unreachable(format!("{address}: {error}")))?;
        self.poll.watch(&socket, self.conns.len() as u64)?;
        let mut pipe =
            self.target.pipe(socket).map_err(|error| WorkError::Unreachable(error.to_string()))?;
        let mut nothing = Vec::new();
        pipe.start(&mut nothing).map_err(|error| WorkError::Unreachable(error.to_string()))?;
        self.conns.push(Conn { pipe: Some(pipe), talk: None, begun_ns: intended_ns });
        self.opening += 1;
        Ok(())
    }

    /// The uid of connection `index`.
    pub(super) fn uid(&self, index: u32) -> String {
        format!("load-{:x}-{}-{index}", self.config.run, self.config.worker)
    }

    /// TLS stands: says who this is.
    pub(super) fn log_in(&mut self, index: u32, now: u64) -> Result<(), PipeError> {
        let begun = self.conns[index as usize].begun_ns;
        self.connected.handshake.record_ns(now.saturating_sub(begun));
        let uid = self.uid(index);
        let token = match &self.issuer {
            Some(issuer) => issuer.token(&uid, unix_ms() / 1_000, TOKEN_SECONDS),
            None => uid,
        };
        let hello = wire::Hello {
            min_version: 1,
            max_version: 1,
            token,
            device: format!("load-{index}"),
            sdk: concat!("damso-loadtest/", env!("CARGO_PKG_VERSION")).into(),
            client_time_ms: unix_ms(),
            ..Default::default()
        };
        let mut out = Vec::new();
        let talk = ClientConn::open(hello, Vec::new(), moment(now), &mut out);
        self.conns[index as usize].talk = Some(talk);
        self.write(index, &out)
    }
}
