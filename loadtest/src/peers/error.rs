//! Why a peer does not start.

use std::io;

/// See the module.
#[derive(thiserror::Error, Debug)]
pub enum PeerError {
    /// The program is not there.
    #[error("{program} is not installed; on Debian: apt-get install {package}")]
    Missing {
        /// What was looked for.
        program: &'static str,
        /// What has it.
        package: &'static str,
    },
    /// No certificate could be made.
    #[error("a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The system refuses.
    #[error("{what}: {cause}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system says.
        #[source]
        cause: io::Error,
    },
    /// It ended instead of listening.
    #[error("{program} ended at its start: {said}")]
    Ended {
        /// Which.
        program: &'static str,
        /// The end of what it wrote.
        said: String,
    },
    /// It runs, and does not listen.
    #[error("{program} did not listen within {seconds} s")]
    Deaf {
        /// Which.
        program: &'static str,
        /// How long it was given.
        seconds: u64,
    },
}

impl PeerError {
    /// For `map_err`.
    pub(super) fn system(what: &'static str) -> impl Fn(io::Error) -> Self {
        move |cause| Self::System { what, cause }
    }
}
