//! The command line of a run, and what of the scenario it replaces.

use std::path::PathBuf;

use clap::Args;

use super::RunError;
use crate::scenario::{self, Members, Phase, Scenario, ScenarioError};
use crate::schedule::Arrival;
use crate::slo::Objectives;

/// Everything that shapes a run, whatever is done with it.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// A scenario that comes with the tool (see `scenarios`), or the path of a TOML file
    pub scenario: String,

    /// Connection string of a server: damso://HOST:PORT?pin=sha256-... Without it one is started
    #[arg(long, env = "DAMSO_URL", hide_env_values = true, help_heading = "Target")]
    pub url: Option<String>,
    /// Private key of the server's issuer (Ed25519, PKCS#8): makes tokens for the run's people
    #[arg(long, value_name = "FILE", requires = "url", help_heading = "Target")]
    pub token_key: Option<PathBuf>,
    /// The server's process, for its CPU time, memory and descriptors
    #[arg(long, requires = "url", help_heading = "Target")]
    pub pid: Option<u32>,
    /// The server's metrics page, for its tables, and for its CPU time and memory where its process
    /// is out of reach: http://127.0.0.1:9464/metrics
    #[arg(long, value_name = "URL", requires = "url", help_heading = "Target")]
    pub metrics: Option<String>,
    /// Go against the bare loop: epoll, TLS and a write per delivery, no product
    #[arg(long, conflicts_with = "url", help_heading = "Target")]
    pub bare: bool,
    /// Run each phase against the bare loop, too, in turn, and print ratios
    #[arg(long, conflicts_with = "bare", help_heading = "Target")]
    pub with_bare: bool,
    /// Let the bare loop do a wrong, such as `lose@1000` (see `bare --help`); repeatable
    #[arg(long, value_name = "FAULT", help_heading = "Target")]
    pub bare_fault: Vec<String>,
    /// No TLS between the harness and the bare loop: the harness' own cost
    #[arg(long, requires = "bare", help_heading = "Target")]
    pub plain: bool,

    /// Connections, each of a person of its own [people.connections]
    #[arg(long, help_heading = "Scenario")]
    pub connections: Option<u32>,
    /// Channels of the first kind [channels.0.count]
    #[arg(long, help_heading = "Scenario")]
    pub channels: Option<u32>,
    /// Members of each of them [channels.0.members]
    #[arg(long, help_heading = "Scenario")]
    pub members: Option<u32>,
    /// Operations a second of the first stream, the others in proportion if there are several;
    /// several make each phase run once per rate
    #[arg(long, value_delimiter = ',', help_heading = "Scenario")]
    pub rate: Vec<f64>,
    /// Length of every phase [run.seconds]
    #[arg(long, help_heading = "Scenario")]
    pub seconds: Option<f64>,
    /// Traffic before the first phase, checked but not measured [run.warmup_seconds]
    #[arg(long, value_name = "SECONDS", help_heading = "Scenario")]
    pub warmup: Option<f64>,
    /// How long to wait for what is missing at a phase's end [run.drain_seconds]
    #[arg(long, value_name = "SECONDS", help_heading = "Scenario")]
    pub drain: Option<f64>,
    /// How often to run all phases [run.repeat]
    #[arg(long, help_heading = "Scenario")]
    pub repeat: Option<u32>,
    /// How messages of the first stream arrive [traffic.0.arrival]
    #[arg(long, value_enum, help_heading = "Scenario")]
    pub arrival: Option<Arrival>,
    /// Payload of a message, all streams [traffic.*.payload_bytes]
    #[arg(long, value_name = "BYTES", help_heading = "Scenario")]
    pub payload: Option<usize>,
    /// Connections begun a second [people.connect_per_second]
    #[arg(long, value_name = "PER_SECOND", help_heading = "Scenario")]
    pub connect_rate: Option<f64>,
    /// Seed of everything that is drawn [run.seed]
    #[arg(long, help_heading = "Scenario")]
    pub seed: Option<u64>,
    /// Do not read history back at the end [run.read_back]
    #[arg(long, help_heading = "Scenario")]
    pub no_read_back: bool,
    /// Replace any value, such as `traffic.talk.zipf=1.1`; repeatable
    #[arg(long, value_name = "PATH=VALUE", help_heading = "Scenario")]
    pub set: Vec<String>,

    /// Connections of one worker process
    #[arg(long, default_value_t = 15_000, value_name = "CONNECTIONS", help_heading = "Harness")]
    pub per_worker: u32,
    /// Never sleep: keeps a core awake for the workers (only if one can be spared)
    #[arg(long, help_heading = "Harness")]
    pub spin: bool,
    /// The run is void when 1 % of the messages left later than this
    #[arg(long, default_value_t = 10.0, value_name = "MS", help_heading = "Harness")]
    pub late_ms_max: f64,

    /// Objectives that decide the exit code, such as `ack.p99<50ms,last.p99<200ms`
    #[arg(long, default_value = "", hide_default_value = true, help_heading = "Report")]
    pub slo: Objectives,
    /// Write the whole report as JSON
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub json: Option<PathBuf>,
    /// Write the report as one HTML page with charts
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub html: Option<PathBuf>,
    /// Write one line per second as CSV
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub csv: Option<PathBuf>,
    /// Write each second's distributions as an HdrHistogram V2 log
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub hlog: Option<PathBuf>,
    /// Write percentiles, one .hgrm file per side, phase, stream and measure
    #[arg(long, value_name = "DIRECTORY", help_heading = "Report")]
    pub hgrm: Option<PathBuf>,
}

impl Options {
    /// The scenario with everything that was asked for put over it.
    ///
    /// # Errors
    /// [`RunError::Usage`], with what would be right.
    pub(super) fn read_scenario(&self) -> Result<Scenario, RunError> {
        let mut scenario = scenario::read(&self.scenario, &self.set)?;
        self.put_over(&mut scenario)?;
        match scenario::check(&scenario) {
            Some(what) => {
                let origin = format!("{} with these options", self.scenario);
                Err(ScenarioError::Senseless { origin, what }.into())
            }
            None => self.check().map(|()| scenario),
        }
    }

    fn put_over(&self, scenario: &mut Scenario) -> Result<(), RunError> {
        let run = &mut scenario.run;
        put(&mut run.seconds, self.seconds);
        put(&mut run.warmup_seconds, self.warmup);
        put(&mut run.drain_seconds, self.drain);
        put(&mut run.repeat, self.repeat);
        put(&mut run.seed, self.seed);
        run.read_back &= !self.no_read_back;
        put(&mut scenario.people.connections, self.connections);
        put(&mut scenario.people.connect_per_second, self.connect_rate);
        if self.seconds.is_some() {
            scenario.phase.iter_mut().for_each(|phase| phase.seconds = None);
        }
        if let Some(bytes) = self.payload {
            scenario.traffic.iter_mut().for_each(|traffic| traffic.payload_bytes = bytes);
        }
        let missing = |what: &str, option: &str| {
            RunError::Usage(format!(
                "{}: it has no {what}, so {option} means nothing",
                self.scenario
            ))
        };
        if let Some(channels) = self.channels {
            let first = scenario.channels.first_mut();
            first.ok_or_else(|| missing("[[channels]]", "--channels"))?.count = channels;
        }
        if let Some(members) = self.members {
            let first = scenario.channels.first_mut();
            first.ok_or_else(|| missing("[[channels]]", "--members"))?.members =
                Members::Count(members);
        }
        if let Some(arrival) = self.arrival {
            let first = scenario.traffic.first_mut();
            first.ok_or_else(|| missing("[[traffic]]", "--arrival"))?.arrival = arrival;
        }
        if let Some(rate) = self.rate.first() {
            let first = scenario.traffic.first_mut();
            first.ok_or_else(|| missing("[[traffic]]", "--rate"))?.rate = *rate;
            scenario.phase = by_rate(&scenario.phases(), &self.rate);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), RunError> {
        let wrong = |what: &str| Err(RunError::Usage(what.into()));
        if self.url.is_some() && self.token_key.is_none() {
            return wrong("--url needs --token-key: the run logs in people of its own");
        }
        if !self.late_ms_max.is_finite() || self.late_ms_max < 0.0 {
            return wrong("--late-ms-max must not be below 0");
        }
        if self.per_worker == 0 {
            return wrong("--per-worker must be above 0");
        }
        if self.rate.iter().any(|rate| !rate.is_finite() || *rate <= 0.0) {
            return wrong("--rate must be above 0");
        }
        if !self.bare_fault.is_empty() && !self.bare && !self.with_bare {
            return wrong("--bare-fault needs --bare or --with-bare");
        }
        Ok(())
    }
}

fn put<T: Copy>(value: &mut T, with: Option<T>) {
    if let Some(with) = with {
        *value = with;
    }
}

/// Each phase once per rate, named by it if there are several.
fn by_rate(phases: &[Phase], rates: &[f64]) -> Vec<Phase> {
    let of = |phase: &Phase, rate: f64| {
        let several = rates.len() > 1;
        let plain = phases.len() == 1 && phase.name == "steady";
        let name = match (several, plain) {
            (false, _) => phase.name.clone(),
            (true, true) => format!("{rate}/s"),
            (true, false) => format!("{} at {rate}/s", phase.name),
        };
        Phase { name, load: phase.load * rate / rates[0], ..phase.clone() }
    };
    rates.iter().flat_map(|rate| phases.iter().map(|phase| of(phase, *rate))).collect()
}

/// Objectives that look at nothing in this scenario would be kept by silence.
pub(super) fn check_objectives(slo: &Objectives, scenario: &Scenario) -> Result<(), RunError> {
    for objective in &slo.0 {
        if !scenario.traffic.iter().any(|traffic| objective.is_about(&traffic.name, traffic.op)) {
            let names: Vec<&str> = scenario.traffic.iter().map(|t| t.name.as_str()).collect();
            return Err(RunError::Usage(format!(
                "--slo {objective}: no stream of the scenario measures that; there are: {}",
                names.join(", ")
            )));
        }
    }
    Ok(())
}
