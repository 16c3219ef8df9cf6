//! Why there is no report.

use super::crew::CrewError;
use super::target::TargetlessError;
use crate::report::model::Outcome;
use crate::scenario::ScenarioError;

/// See the module.
#[derive(thiserror::Error, Debug)]
pub enum RunError {
    /// The options do not fit together, or the machine cannot carry the run.
    #[error("{0}")]
    Usage(String),
    /// The scenario is none.
    #[error("{0}")]
    Scenario(#[from] ScenarioError),
    /// There is nothing to run against.
    #[error("{0}")]
    Target(#[from] TargetlessError),
    /// A worker failed.
    #[error("{side}: {cause}")]
    Crew {
        /// Which target.
        side: String,
        /// What happened.
        #[source]
        cause: CrewError,
    },
    /// The system refuses.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

impl RunError {
    /// What the process ends with.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Usage(_) | Self::Scenario(_) | Self::System(_) | Self::Target(_) => {
                Outcome::Usage
            }
            Self::Crew { cause: CrewError::Failed { unreachable: false, .. }, .. } => {
                Outcome::Usage
            }
            Self::Crew { .. } => Outcome::Unreachable,
        }
    }
}
