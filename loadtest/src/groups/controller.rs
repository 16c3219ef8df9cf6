//! Leads a run: targets, workers, phases in turn, and the verdict.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Args;

use super::crew::{Crew, CrewError};
use super::order::{Config, Connected, Judged, Order, Phase, Ran, Report};
use super::report::{Figures, Outcome, RunReport, Side};
use crate::engine::poll::{now_ns, unix_ms};
use crate::host::{Machine, Process};
use crate::schedule::Arrival;
use crate::slo::Objectives;

/// From giving the order to the start of a phase: every worker has planned it by then.
const LEAD: Duration = Duration::from_millis(500);

/// What to run.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Connection string of the server, as it prints it: damso://HOST:PORT?pin=sha256-...
    #[arg(long, env = "DAMSO_URL", hide_env_values = true)]
    pub url: Option<String>,
    /// Private key of the server's issuer (Ed25519, PKCS#8): makes tokens for the run's people
    #[arg(long, value_name = "FILE", requires = "url")]
    pub token_key: Option<PathBuf>,
    /// The server's process, for its CPU time, memory and descriptors
    #[arg(long, requires = "url")]
    pub pid: Option<u32>,
    /// Connections, each of a person of its own
    #[arg(long, default_value_t = 1_000)]
    pub connections: u32,
    /// Channels
    #[arg(long, default_value_t = 100)]
    pub channels: u32,
    /// Members of each channel
    #[arg(long, default_value_t = 10)]
    pub members: u32,
    /// Messages a second, all channels together; several make several phases
    #[arg(long, default_values_t = [100.0], value_delimiter = ',')]
    pub rate: Vec<f64>,
    /// Length of a phase
    #[arg(long, default_value_t = 30.0)]
    pub seconds: f64,
    /// Sending before the first phase, checked but not measured
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
    pub warmup: f64,
    /// How long to wait for what is missing at a phase's end
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    pub drain: f64,
    /// How often to run each phase
    #[arg(long, default_value_t = 1)]
    pub repeat: u32,
    /// How messages arrive
    #[arg(long, value_enum, default_value_t = Arrival::Poisson)]
    pub arrival: Arrival,
    /// Payload of a message
    #[arg(long, default_value_t = 200, value_name = "BYTES")]
    pub payload: usize,
    /// Connections begun a second
    #[arg(long, default_value_t = 1_000.0, value_name = "PER_SECOND")]
    pub connect_rate: f64,
    /// Connections of one worker process
    #[arg(long, default_value_t = 15_000, value_name = "CONNECTIONS")]
    pub per_worker: u32,
    /// Run each phase against the bare loop, too, in turn, and print the ratio of CPU time
    #[arg(long)]
    pub with_bare: bool,
    /// Let the bare loop do wrong, as `bare --fault` does: the run must find it
    #[arg(long = "bare-fault", value_name = "FAULT", requires = "with_bare")]
    pub bare_faults: Vec<String>,
    /// Do not read history back at the end
    #[arg(long)]
    pub no_read_back: bool,
    /// Never sleep: keeps a core awake for the workers (only if one can be spared)
    #[arg(long)]
    pub spin: bool,
    /// Objectives that decide the exit code, such as `ack.p99<50ms,last.p99<200ms`
    #[arg(long, default_value = "", hide_default_value = true)]
    pub slo: Objectives,
    /// The run is void when 1 % of the messages left later than this
    #[arg(long, default_value_t = 10.0, value_name = "MS")]
    pub late_ms_max: f64,
    /// Seed of the plan
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Write the report as JSON, too
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Why there is no report.
#[derive(thiserror::Error, Debug)]
pub enum RunError {
    /// The options do not fit together.
    #[error("{0}")]
    Usage(String),
    /// A worker failed.
    #[error("{side}: {cause}")]
    Crew {
        /// Which target.
        side: &'static str,
        /// What happened.
        #[source]
        cause: CrewError,
    },
    /// The system refuses.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// A target with its workers.
struct Team {
    name: &'static str,
    crew: Crew,
    pid: Option<u32>,
    before: Option<Process>,
    side: Side,
    /// The bare loop, if this is it.
    server: Option<Child>,
}

impl Drop for Team {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It keeps nothing; a failure means that it is gone already.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

/// Runs it all. Progress goes to standard error.
///
/// # Errors
/// [`RunError`]: there is nothing to report.
pub fn run(options: &Options) -> Result<RunReport, RunError> {
    check(options)?;
    let run = unix_ms();
    let mut teams = Vec::new();
    if let Some(url) = &options.url {
        teams.push(Team::start(options, "server", run, url, options.pid, None)?);
    }
    if options.with_bare {
        let (server, url) = start_bare(&options.bare_faults)?;
        let pid = Some(server.id());
        teams.push(Team::start(options, "bare", run, &url, pid, Some(server))?);
    }
    for team in &mut teams {
        team.connect(options)?;
    }
    let mut number = 0;
    if options.warmup > 0.0 {
        let warmup = Options { seconds: options.warmup, ..options.clone() };
        for team in &mut teams {
            team.phase(&warmup, number, options.rate[0])?;
            team.side.phases.clear();
        }
        number += 1;
    }
    for _ in 0..options.repeat {
        for &rate in &options.rate {
            for team in &mut teams {
                team.phase(options, number, rate)?;
            }
            number += 1;
        }
    }
    for team in &mut teams {
        team.judge(!options.no_read_back && team.server.is_none())?;
    }
    let sides = teams.iter_mut().map(|team| std::mem::take(&mut team.side)).collect();
    Ok(RunReport::new(options, run, sides))
}

fn check(options: &Options) -> Result<(), RunError> {
    let wrong = |what: &str| Err(RunError::Usage(what.into()));
    if options.url.is_none() && !options.with_bare {
        return wrong("no target: give --url, --with-bare, or both");
    }
    if options.url.is_some() && options.token_key.is_none() {
        return wrong("--url needs --token-key: the run logs in people of its own");
    }
    if options.channels == 0 || options.members == 0 || options.connections == 0 {
        return wrong("--connections, --channels and --members must be above 0");
    }
    if options.members > options.connections {
        return wrong("--members must not be above --connections: nobody is in a channel twice");
    }
    let rates = options.rate.iter().all(|rate| rate.is_finite() && *rate > 0.0);
    let times = [options.seconds, options.connect_rate];
    if !rates || options.rate.is_empty() || times.iter().any(|n| !n.is_finite() || *n <= 0.0) {
        return wrong("--rate, --seconds and --connect-rate must be above 0");
    }
    let waits = [options.warmup, options.drain, options.late_ms_max];
    if waits.iter().any(|n| !n.is_finite() || *n < 0.0) {
        return wrong("--warmup, --drain and --late-ms-max must not be below 0");
    }
    if options.per_worker == 0 || options.repeat == 0 {
        return wrong("--per-worker and --repeat must be above 0");
    }
    Ok(())
}

/// Starts the bare loop in a process of its own.
fn start_bare(faults: &[String]) -> Result<(Child, String), RunError> {
    let mut server = Command::new(std::env::current_exe()?)
        .args(["bare", "--listen", "127.0.0.1:0"])
        .args(faults.iter().flat_map(|fault| ["--fault", fault]))
        .stdout(Stdio::piped())
        .spawn()?;
    let mut url = String::new();
    if let Some(stdout) = server.stdout.take() {
        BufReader::new(stdout).read_line(&mut url)?;
    }
    if url.is_empty() {
        let _ = server.kill();
        return Err(RunError::Usage("the bare loop did not start".into()));
    }
    Ok((server, url.trim().into()))
}

/// Splits connections and channels over workers: each channel with all its members in one.
fn configs(options: &Options, run: u64, url: &str, token_key: Option<PathBuf>) -> Vec<Config> {
    let workers = options.connections.div_ceil(options.per_worker).clamp(1, options.channels);
    let share = |all: u32, worker: u32| all / workers + u32::from(worker < all % workers);
    (0..workers)
        .map(|worker| Config {
            url: url.into(),
            token_key: token_key.clone(),
            run,
            worker,
            connections: share(options.connections, worker),
            channels: share(options.channels, worker),
            members: options.members,
            payload_bytes: options.payload,
            connect_rate: options.connect_rate / f64::from(workers),
            spin: options.spin,
        })
        .collect()
}

impl Team {
    fn start(
        options: &Options,
        name: &'static str,
        run: u64,
        url: &str,
        pid: Option<u32>,
        server: Option<Child>,
    ) -> Result<Self, RunError> {
        let token_key = if server.is_none() { options.token_key.clone() } else { None };
        let configs = configs(options, run, url, token_key);
        let crew = Crew::start(&configs).map_err(|cause| RunError::Crew { side: name, cause })?;
        let workers = configs.len() as u32;
        let side = Side { name: name.into(), workers, ..Side::default() };
        Ok(Self { name, crew, pid, before: pid.and_then(Process::read), side, server })
    }

    fn all<T>(
        &mut self,
        order: &Order,
        meanwhile: impl FnOnce(),
        read: impl Fn(Report) -> Option<T>,
    ) -> Result<Vec<T>, RunError> {
        let side = self.name;
        self.crew.all(order, meanwhile, read).map_err(|cause| RunError::Crew { side, cause })
    }

    fn server(&self) -> Option<Process> {
        self.pid.and_then(Process::read)
    }

    fn connect(&mut self, options: &Options) -> Result<(), RunError> {
        eprintln!("{}: connecting {} ...", self.name, options.connections);
        let connected = self.all(
            &Order::Connect,
            || {},
            |report| match report {
                Report::Connected(connected) => Some(*connected),
                _ => None,
            },
        )?;
        let ramp = &mut self.side.ramp;
        let mut sum = Connected::default();
        for part in &connected {
            sum.login.merge(&part.login);
            sum.handshake.merge(&part.handshake);
            sum.seconds = sum.seconds.max(part.seconds);
            ramp.own_bytes += part.own.resident_bytes;
        }
        ramp.login = sum.login.summary();
        ramp.handshake = sum.handshake.summary();
        ramp.seconds = sum.seconds;
        ramp.before = self.before;
        ramp.connected = self.pid.and_then(Process::read);
        let channels = (options.channels, options.members);
        eprintln!("{}: making {} channels of {} ...", self.name, channels.0, channels.1);
        let grouped = self.all(
            &Order::Group,
            || {},
            |report| match report {
                Report::Grouped { seconds, told } => Some((seconds, told)),
                _ => None,
            },
        )?;
        self.side.ramp.group_seconds = grouped.iter().map(|part| part.0).fold(0.0, f64::max);
        self.side.ramp.told = grouped.iter().map(|part| part.1).sum();
        self.side.ramp.grouped = self.server();
        Ok(())
    }

    fn phase(&mut self, options: &Options, number: u32, rate: f64) -> Result<(), RunError> {
        eprintln!("{}: {rate} messages/s for {} s ...", self.name, options.seconds);
        let start_ns = now_ns() + LEAD.as_nanos() as u64;
        let phase = Phase {
            number,
            rate: rate / f64::from(self.side.workers),
            seconds: options.seconds,
            arrival: options.arrival,
            start_ns,
            drain_seconds: options.drain,
            seed: options.seed ^ u64::from(number) << 32,
        };
        let pid = self.pid;
        let mut before = (None, Machine::default());
        let meanwhile = || {
            std::thread::sleep(Duration::from_nanos(start_ns.saturating_sub(now_ns())));
            before = (pid.and_then(Process::read), Machine::read());
        };
        let parts = self.all(&Order::Run(phase), meanwhile, |report| match report {
            Report::Ran(ran) => Some(*ran),
            _ => None,
        })?;
        let after = self.server();
        let (busy, steal) = Machine::read().shares_since(&before.1);
        let mut ran = Ran::default();
        parts.iter().for_each(|part| ran.merge(part));
        let figures = Figures::new(rate, &ran, (before.0, after), (busy, steal));
        eprintln!("{}: {}", self.name, figures.headline());
        self.side.phases.push(figures);
        Ok(())
    }

    fn judge(&mut self, history: bool) -> Result<(), RunError> {
        if history {
            eprintln!("{}: reading history back ...", self.name);
        }
        let parts = self.all(
            &Order::Judge { history },
            || {},
            |report| match report {
                Report::Judged(judged) => Some(judged),
                _ => None,
            },
        )?;
        let mut all = Judged { passed: true, ..Judged::default() };
        for (worker, part) in parts.into_iter().enumerate() {
            all.passed &= part.passed;
            all.text.push_str(&format!("worker {worker}: {}", part.text));
            for (law, count) in part.violations {
                *all.violations.entry(law).or_default() += count;
            }
            all.corrupt += part.corrupt;
            all.channels_read += part.channels_read;
            all.rows_read += part.rows_read;
            all.channels_unread += part.channels_unread;
        }
        self.side.ramp.after = self.server();
        self.side.verdict = all;
        Ok(())
    }
}

impl RunError {
    /// What the process ends with.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Usage(_) | Self::System(_) => Outcome::Usage,
            Self::Crew { cause: CrewError::Failed { unreachable: false, .. }, .. } => {
                Outcome::Usage
            }
            Self::Crew { .. } => Outcome::Unreachable,
        }
    }
}
