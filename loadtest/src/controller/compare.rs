//! `compare`: the same scenario against several servers in turn, interleaved and repeated.

use clap::{Args, ValueEnum};

use super::RunError;
use super::options::Options;
use super::run::{opponent, run_against};
use super::target::Opponent;
use crate::report::model::Report;

/// Options of `compare`.
#[derive(Args, Clone, Debug)]
pub struct CompareOptions {
    /// Whom to compare with; repeatable
    #[arg(long, value_enum, required = true)]
    pub peer: Vec<Peer>,
    /// The run
    #[command(flatten)]
    pub options: Options,
}

/// Another server, by the same yardstick.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Peer {
    /// mosquitto, MQTT 3.1.1 QoS 0: no acknowledgement, nothing kept
    Mosquitto,
    /// mosquitto, MQTT 3.1.1 QoS 1: acknowledged from memory
    MosquittoQos1,
    /// The bare loop
    Bare,
}

/// Repetitions where nobody says how many: fewer show no spread.
const REPEATS: u32 = 3;

/// Runs the scenario against the first target and all peers.
///
/// # Errors
/// [`RunError`]: a peer is not installed, or there is nothing to report.
pub fn compare(options: &CompareOptions) -> Result<Report, RunError> {
    let mut run = options.options.clone();
    run.repeat = Some(run.repeat.unwrap_or(REPEATS));
    let scenario = run.read_scenario()?;
    let mut opponents = vec![opponent(&run)?];
    for peer in &options.peer {
        opponents.push(match peer {
            Peer::Bare => Opponent::bare(&run.bare_fault, false)?,
            Peer::Mosquitto => Opponent::mosquitto(0)?,
            Peer::MosquittoQos1 => Opponent::mosquitto(1)?,
        });
    }
    run_against(&run, &scenario, opponents)
}
