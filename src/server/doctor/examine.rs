//! All of it, in a few seconds.

use std::io;
use std::path::{Path, PathBuf};

use super::expect::{assumed, expect};
use super::host::Ticks;
use super::measured::Measured;
use super::report::Report;
use super::{clock, disk, host, warn};
use crate::server::config::{Config, DoctorArgs};

/// Why nothing can be said.
#[derive(thiserror::Error, Debug)]
pub enum DoctorError {
    /// The disk cannot be measured.
    #[error(
        "cannot measure the disk in {}: {source}; choose a directory that can be written with --data",
        .directory.display()
    )]
    Disk {
        /// Where it was tried.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A figure that JSON cannot hold.
    #[error("cannot write JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// Measures this machine, and says what to expect of a server with this configuration on it.
///
/// # Errors
/// The disk cannot be measured.
pub fn doctor(config: &Config, arguments: DoctorArgs) -> Result<String, DoctorError> {
    let begun = Ticks::now();
    // The data directory itself is a server's to make.
    let named = config.data.ancestors().filter(|path| !path.as_os_str().is_empty());
    let there = named.into_iter().find(|path| path.is_dir()).unwrap_or(Path::new("."));
    let disk = disk::measure(there)
        .map_err(|source| DoctorError::Disk { directory: there.into(), source })?;
    let clock = clock::watch();
    let measured = Measured { host: host::look(begun), disk, clock };
    let expected = expect(&measured, config);
    let warnings = warn::warnings(&measured, &expected);
    let report = Report { measured, expected, assumed: assumed(), warnings };
    if arguments.json { Ok(report.json()?) } else { Ok(report.text()) }
}
