//! A server that may run for a share of the time, as under a quota of CPU time.
//!
//! ```text
//! | runs | stands still                  | runs | ...
//! | share of 20 ms |
//! ```
//!
//! SIGSTOP and SIGCONT need no privilege and no control group. A server that stands still when the
//! harness ends, however it ends, is let go on by the kernel: its process group is an orphan then.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// How long a server runs and stands still once: short beside what people notice, long beside what
/// a timer is late.
const PERIOD: Duration = Duration::from_millis(20);

/// Holds a process back until it is dropped.
pub(super) struct Throttle {
    /// Closed in the end.
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Throttle {
    /// Lets process `pid` run for `share` of the time. `None`: it is no process.
    pub(super) fn start(pid: u32, share: f64) -> Option<Self> {
        let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
        let (end, ended) = channel::<()>();
        let runs = PERIOD.mul_f64(share);
        let thread = std::thread::spawn(move || {
            let goes_on = |time| ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
            // A process that is gone needs no holding back.
            while goes_on(runs) && kill_process(pid, Signal::STOP).is_ok() {
                let on = goes_on(PERIOD - runs);
                let _ = kill_process(pid, Signal::CONT);
                if !on {
                    return;
                }
            }
        });
        Some(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::host::Process;

    #[test]
    fn a_process_has_its_share_and_all_of_it_again_afterwards() {
        let mut busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let took = || {
            let before = Process::read(busy.id()).unwrap().cpu_ns;
            std::thread::sleep(Duration::from_millis(400));
            Process::read(busy.id()).unwrap().cpu_ns - before
        };
        let throttle = Throttle::start(busy.id(), 0.05).unwrap();
        let held = took();
        drop(throttle);
        let state = std::fs::read_to_string(format!("/proc/{}/stat", busy.id())).unwrap();
        busy.kill().unwrap();
        busy.wait().unwrap();
        // Half would be ten times its share: timers of a busy machine are late.
        assert!(held < 200_000_000, "{held} ns of 400 ms");
        assert!(!state.contains(") T "), "it does not stand still: {state}");
    }
}
