//! A server is asked to end at a moment of a phase, and starts again on the same data.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::engine::poll::{SECOND_NS, now_ns};
use crate::figures::Latencies;
use crate::report::stress::Stop;
use crate::worker::order::{Ran, Stopped};

/// A server that has not ended so long after it was asked to does not.
const END_TIME_MAX: Duration = Duration::from_secs(60);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The code of a last frame of a server that restarts.
const GOING_AWAY: u32 = damso_proto::code::CloseCode::GoingAway.number();

/// A server that is asked to end. The thread asks at its moment, whatever else is done then, and
/// waits for the end without taking the exit code, which is for whoever started the server.
pub(super) struct Stopping(JoinHandle<Option<u64>>);

impl Stopping {
    /// Asks process `pid` at `at_ns`.
    pub(super) fn at(at_ns: u64, pid: u32) -> Self {
        Self(std::thread::spawn(move || {
            std::thread::sleep(Duration::from_nanos(at_ns.saturating_sub(now_ns())));
            let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
            let asked_ns = now_ns();
            kill_process(pid, Signal::TERM).ok()?;
            waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).ok()?;
            Some(now_ns() - asked_ns)
        }))
    }

    /// Seconds from asking to the end. `None`: it does not end.
    pub(super) fn wait(self) -> Option<f64> {
        let until = Instant::now() + END_TIME_MAX;
        while !self.0.is_finished() {
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(LOOK);
        }
        let took_ns = self.0.join().ok().flatten()?;
        Some(took_ns as f64 / SECOND_NS as f64)
    }
}

/// What the clients heard of it, all workers together.
pub(super) fn heard(ran: &[Ran]) -> Stop {
    let (mut told, mut after) = (Latencies::default(), Latencies::default());
    let mut stop = Stop::default();
    for Stopped { connections, ended, closings, elsewhere, told: when, after: times } in
        ran.iter().filter_map(|part| part.stopped.as_ref())
    {
        stop.connections += connections;
        stop.ended += ended;
        stop.elsewhere += elsewhere;
        for (code, count) in closings {
            *stop.closings.entry(*code).or_default() += count;
        }
        told.merge(when);
        after.merge(times);
    }
    stop.going_away = stop.closings.get(&GOING_AWAY).copied().unwrap_or(0);
    stop.unannounced = stop.ended.saturating_sub(stop.closings.values().sum());
    (stop.told, stop.after) = (told.summary(), after.summary());
    stop.after_us_min = if after.is_empty() { 0 } else { after.at(0.0) };
    let counts = || ran.iter().flat_map(|part| &part.counts);
    let answered = counts().map(|counts| counts.acked + counts.refusals()).sum();
    stop.unanswered = counts().map(|counts| counts.sent).sum::<u64>().saturating_sub(answered);
    stop
}
