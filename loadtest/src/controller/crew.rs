//! The worker processes of one target, led over pipes.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use crate::worker::order::{Config, Order, Report};

/// Room in a report's pipe: a worker must not wait for the controller. What the system allows
/// without privilege.
const PIPE_BYTES: usize = 1 << 20;
/// How long to wait for reports before looking at the clock again.
const LOOK: Duration = Duration::from_millis(100);

/// Why a worker is of no more use.
#[derive(thiserror::Error, Debug)]
pub enum CrewError {
    /// It cannot be started, or its pipes broke.
    #[error("worker: {0}")]
    System(#[from] io::Error),
    /// It ended without a report.
    #[error("a worker ended without a word")]
    Gone,
    /// It says that it cannot go on.
    #[error("{what}")]
    Failed {
        /// Nothing answers at the target.
        unreachable: bool,
        /// What happened.
        what: String,
    },
    /// It answered something else than it was asked.
    #[error("a worker answered something else than it was asked")]
    Confused,
}

/// The workers of one target. Dropping it ends them.
pub(super) struct Crew {
    workers: Vec<(Child, ChildStdin)>,
    reports: Receiver<(usize, Result<Report, CrewError>)>,
}

/// What a report is in the course of an order.
pub(super) enum Turn<T> {
    /// A step on the way.
    Step,
    /// The last word of this worker.
    End(T),
    /// Not an answer to this order.
    Other,
}

impl Crew {
    /// Starts a worker process for each configuration.
    ///
    /// # Errors
    /// [`CrewError::System`].
    pub(super) fn start(configs: &[Config]) -> Result<Self, CrewError> {
        let program = std::env::current_exe()?;
        let (sender, reports) = channel();
        let mut crew = Self { workers: Vec::new(), reports };
        for (number, config) in configs.iter().enumerate() {
            let mut child = Command::new(&program)
                .arg("worker")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let mut orders = child.stdin.take().ok_or(CrewError::Gone)?;
            let stdout = child.stdout.take().ok_or(CrewError::Gone)?;
            // A smaller pipe does, too.
            let _ = rustix::pipe::fcntl_setpipe_size(&stdout, PIPE_BYTES);
            say(&mut orders, config)?;
            crew.workers.push((child, orders));
            let sender = sender.clone();
            std::thread::spawn(move || listen(number, stdout, &sender));
        }
        Ok(crew)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Gives each worker its order, calls `idle` many times a second, and gathers what `read`
    /// makes of the last reports.
    ///
    /// # Errors
    /// [`CrewError`]: the first worker that failed.
    pub(super) fn all<T>(
        &mut self,
        orders: &[Order],
        mut idle: impl FnMut(),
        mut read: impl FnMut(usize, Report) -> Turn<T>,
    ) -> Result<Vec<T>, CrewError> {
        for ((_, stdin), order) in self.workers.iter_mut().zip(orders) {
            say(stdin, order)?;
        }
        let mut ends: Vec<Option<T>> = self.workers.iter().map(|_| None).collect();
        let mut missing = ends.len();
        while missing > 0 {
            idle();
            let (number, report) = match self.reports.recv_timeout(LOOK) {
                Ok(heard) => heard,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return Err(CrewError::Gone),
            };
            match report? {
                Report::Failed { unreachable, what } => {
                    return Err(CrewError::Failed { unreachable, what });
                }
                report => match read(number, report) {
                    Turn::Step => {}
                    Turn::End(end) => {
                        missing -= usize::from(ends[number].is_none());
                        ends[number] = Some(end);
                    }
                    Turn::Other => return Err(CrewError::Confused),
                },
            }
        }
        Ok(ends.into_iter().flatten().collect())
    }

    /// Gives everyone the same order.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub(super) fn same<T>(
        &mut self,
        order: &Order,
        mut read: impl FnMut(Report) -> Turn<T>,
    ) -> Result<Vec<T>, CrewError> {
        let orders = vec![order.clone(); self.workers.len()];
        self.all(&orders, || {}, |_, report| read(report))
    }
}

fn say(stdin: &mut ChildStdin, message: &impl serde::Serialize) -> Result<(), CrewError> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::from)?;
    line.push(b'\n');
    Ok(stdin.write_all(&line)?)
}

/// Reads a worker's reports until it ends, or nobody wants them.
fn listen(number: usize, stdout: ChildStdout, sender: &Sender<(usize, Result<Report, CrewError>)>) {
    let mut lines = BufReader::with_capacity(1 << 17, stdout);
    let mut line = String::new();
    loop {
        line.clear();
        let report = match lines.read_line(&mut line) {
            Ok(0) => Err(CrewError::Gone),
            Ok(_) => serde_json::from_str(&line)
                .map_err(|error| CrewError::System(io::Error::from(error))),
            Err(error) => Err(error.into()),
        };
        let over = report.is_err();
        if sender.send((number, report)).is_err() || over {
            return;
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for (mut child, stdin) in self.workers.drain(..) {
            // The end of its input is a worker's order to leave.
            drop(stdin);
            let _ = child.wait();
        }
    }
}
