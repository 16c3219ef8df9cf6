//! What is to be run: people, channels, traffic, phases.

pub mod layout; // who is in which channel
mod model; //     a scenario as it is written
mod read; //      from TOML and overrides to one that makes sense
#[cfg(test)]
mod tests;

pub use model::{
    Channels, Kind, Members, Op, People, Phase, Run, Scenario, Slow, Stop, Storm, Traffic, Visits,
};
pub use read::{SHIPPED, ScenarioError, check, read};
