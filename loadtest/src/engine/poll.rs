//! Waiting for sockets and for one moment, in nanoseconds of `CLOCK_MONOTONIC`.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// Events taken in one system call.
const EVENTS_MAX: usize = 256;
/// The token of the timer, which no source may have.
const TIMER: u64 = u64::MAX;

/// Nanoseconds of a second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Nanoseconds of `CLOCK_MONOTONIC`, the same for all processes of a host.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Milliseconds since 1970.
pub fn unix_ms() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
}

/// How the poll waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Until a source or the given moment.
    Until(u64),
    /// Until a source.
    Forever,
    /// Not at all: the caller spins, which keeps its core awake.
    Not,
}

/// Edge-triggered epoll with a timer.
pub struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
    armed: Option<u64>,
    events: Vec<Event>,
}

impl std::fmt::Debug for Poll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poll").field("armed", &self.armed).finish_non_exhaustive()
    }
}

impl Poll {
    /// An epoll with its timer.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, timer, armed: None, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Watches a socket for both directions, edge-triggered, under `token`.
    ///
    /// # Errors
    /// The descriptor cannot be watched.
    pub fn watch(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, source, EventData::new_u64(token), flags)?)
    }

    /// Watches a descriptor for input, level-triggered, under `token`.
    ///
    /// # Errors
    /// The descriptor cannot be watched.
    pub fn watch_level(&self, source: impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, EventData::new_u64(token), EventFlags::IN)?)
    }

    /// Stops watching.
    ///
    /// # Errors
    /// It was not watched.
    pub fn forget(&self, source: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, source)?)
    }

    /// Waits, and fills `ready` with the tokens of ready sources.
    ///
    /// A watched socket whose other end is gone is named twice, one after the other: who reads until a
    /// read is short gets what was said with the first, and the end, which stands behind it and
    /// makes no further edge, with the second.
    ///
    /// # Errors
    /// The system refuses to wait; an interruption is no error.
    pub fn wait(&mut self, wait: Wait, ready: &mut Vec<u64>) -> io::Result<()> {
        ready.clear();
        if let Wait::Until(moment) = wait {
            self.arm(moment)?;
        }
        let none = Timespec { tv_sec: 0, tv_nsec: 0 };
        let timeout = (wait == Wait::Not).then_some(&none);
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            match event.data.u64() {
                // Edge-triggered and armed anew each time, so it need not be read.
                TIMER => self.armed = None,
                token => {
                    ready.push(token);
                    let flags = event.flags;
                    if flags.contains(EventFlags::RDHUP) {
                        ready.push(token);
                    }
                }
            }
        }
        Ok(())
    }

    fn arm(&mut self, moment: u64) -> io::Result<()> {
        if self.armed == Some(moment) {
            return Ok(());
        }
        let at = moment.max(1);
        let value = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: (at / 1_000_000_000) as i64,
                tv_nsec: (at % 1_000_000_000) as i64,
            },
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &value)?;
        self.armed = Some(moment);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_wakes_at_its_moment_and_not_before() {
        let mut poll = Poll::new().unwrap();
        let mut ready = Vec::new();
        for _ in 0..2 {
            let at = now_ns() + 2_000_000;
            while now_ns() < at {
                poll.wait(Wait::Until(at), &mut ready).unwrap();
                assert!(ready.is_empty());
            }
        }
    }

    #[test]
    fn a_ready_source_is_named_by_its_token() {
        use std::io::Write as _;
        let (reader, mut writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut poll = Poll::new().unwrap();
        let mut ready = Vec::new();
        poll.watch_level(&reader, 7).unwrap();
        poll.wait(Wait::Not, &mut ready).unwrap();
        assert!(ready.is_empty());
        writer.write_all(b"x").unwrap();
        poll.wait(Wait::Forever, &mut ready).unwrap();
        assert_eq!(ready, [7]);
    }

    #[test]
    fn a_source_whose_other_end_is_gone_is_named_twice() {
        use std::io::Write as _;
        let (reader, mut writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut poll = Poll::new().unwrap();
        let mut ready = Vec::new();
        poll.watch(&reader, 7).unwrap();
        writer.write_all(b"x").unwrap();
        drop(writer);
        poll.wait(Wait::Forever, &mut ready).unwrap();
        assert_eq!(ready, [7, 7]);
    }
}
