//! Where a value came from, so that whoever reads of it knows where to change it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The name of a setting: `section.key`.
pub(super) type Path = &'static str;

/// Where a value came from.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nobody said anything.
    #[default]
    Default,
    /// A line of a file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// A variable of the environment.
    Variable(String),
    /// A flag, as it is written.
    Flag(String),
}

/// Where each value came from that is not a default.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Origins(BTreeMap<Path, Origin>);

impl Origins {
    pub(super) fn put(&mut self, path: Path, origin: Origin) {
        self.0.insert(path, origin);
    }

    pub(super) fn of(&self, path: Path) -> Origin {
        self.0.get(path).cloned().unwrap_or_default()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}
