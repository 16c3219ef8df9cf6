//! The worker processes of one target, led over pipes.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::order::{Config, Order, Report};

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

struct Worker {
    child: Child,
    orders: ChildStdin,
    reports: BufReader<ChildStdout>,
}

/// The workers of one target. Dropping it ends them.
pub(super) struct Crew(Vec<Worker>);

impl Crew {
    /// Starts a worker process for each configuration.
    ///
    /// # Errors
    /// [`CrewError::System`].
    pub(super) fn start(configs: &[Config]) -> Result<Self, CrewError> {
        let program = std::env::current_exe()?;
        let mut crew = Self(Vec::new());
        for config in configs {
            let mut child = Command::new(&program)
                .arg("worker")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let orders = child.stdin.take().ok_or(CrewError::Gone)?;
            let reports = BufReader::new(child.stdout.take().ok_or(CrewError::Gone)?);
            let mut worker = Worker { child, orders, reports };
            worker.say(config)?;
            crew.0.push(worker);
        }
        Ok(crew)
    }

    /// Gives each worker its order and gathers what `read` makes of their reports.
    ///
    /// # Errors
    /// [`CrewError`]: the first worker that failed.
    pub(super) fn all<T>(
        &mut self,
        order: &Order,
        meanwhile: impl FnOnce(),
        read: impl Fn(Report) -> Option<T>,
    ) -> Result<Vec<T>, CrewError> {
        for worker in &mut self.0 {
            worker.say(order)?;
        }
        meanwhile();
        self.0
            .iter_mut()
            .map(|worker| {
                worker.hear().and_then(|report| match report {
                    Report::Failed { unreachable, what } => {
                        Err(CrewError::Failed { unreachable, what })
                    }
                    report => read(report).ok_or(CrewError::Confused),
                })
            })
            .collect()
    }
}

impl Worker {
    fn say(&mut self, message: &impl serde::Serialize) -> Result<(), CrewError> {
        let mut line = serde_json::to_vec(message).map_err(io::Error::from)?;
        line.push(b'\n');
        Ok(self.orders.write_all(&line)?)
    }

    fn hear(&mut self) -> Result<Report, CrewError> {
        let mut line = String::new();
        if self.reports.read_line(&mut line)? == 0 {
            return Err(CrewError::Gone);
        }
        Ok(serde_json::from_str(&line).map_err(io::Error::from)?)
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for mut worker in self.0.drain(..) {
            // The end of its input is a worker's order to leave.
            drop(worker.orders);
            // One that is stuck must not hold the report back; it has nothing to lose.
            drop(worker.reports);
            let _ = worker.child.wait();
        }
    }
}
