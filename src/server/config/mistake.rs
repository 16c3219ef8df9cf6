//! What is wrong with a configuration, where, and what to do.
//!
//! ```text
//! damso.toml:4: listen.chat: "localhost" is no address
//!     write an address and a port, like "127.0.0.1:7443"
//! ```

use std::fmt;
use std::path::Path;

use super::origin::Origin;

/// Two names are taken for a slip of the pen above this likeness (Jaro-Winkler, 0-1).
const ALIKE: f64 = 0.8;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    origin: Origin,
    subject: String,
    what: String,
    advice: String,
}

impl Mistake {
    /// `subject`: the setting, as `section.key`, or whatever stands there in its place.
    pub(super) fn new(
        origin: Origin,
        subject: impl Into<String>,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { origin, subject: subject.into(), what: what.into(), advice: advice.into() }
    }

    /// Where.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What it is about: a setting as `section.key`, mostly.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// For the order in which they are told: lines first, as they stand in the file.
    fn place(&self) -> (u8, Option<(&Path, usize)>) {
        match &self.origin {
            Origin::File { path, line } => (0, Some((path, *line))),
            Origin::Variable(_) => (1, None),
            Origin::Flag(_) => (2, None),
            Origin::Default => (3, None),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, subject, what, advice } = self;
        match origin {
            Origin::Default => write!(f, "{subject} (default): {what}")?,
            _ if subject.is_empty() => write!(f, "{origin}: {what}")?,
            _ => write!(f, "{origin}: {subject}: {what}")?,
        }
        advice.lines().try_for_each(|line| write!(f, "\n    {line}"))
    }
}

/// Everything that is wrong; at least one thing.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("{}; nothing was started\n{}", self.counted(), self.list())]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// # Errors
    /// There are any.
    pub(super) fn none_of(mut mistakes: Vec<Mistake>) -> Result<(), Self> {
        if mistakes.is_empty() {
            return Ok(());
        }
        mistakes.sort_by(|a, b| a.place().cmp(&b.place()));
        Err(Self(mistakes))
    }

    /// Each of them, in the order in which they stand.
    pub fn each(&self) -> &[Mistake] {
        &self.0
    }

    /// How many.
    pub fn counted(&self) -> String {
        match self.0.len() {
            1 => "1 mistake in the configuration".to_owned(),
            many => format!("{many} mistakes in the configuration"),
        }
    }

    /// Each of them, with what to do.
    pub fn list(&self) -> String {
        self.0.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
    }
}

impl From<Mistake> for Mistakes {
    fn from(mistake: Mistake) -> Self {
        Self(vec![mistake])
    }
}

/// How alike two names are, 0-1.
pub(super) fn likeness(word: &str, name: &str) -> f64 {
    let even = |name: &str| name.to_ascii_lowercase().replace('-', "_");
    strsim::jaro_winkler(&even(word), &even(name))
}

/// The name that was meant, perhaps.
pub(super) fn nearest<'n>(word: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    names
        .map(|name| (likeness(word, name), name))
        .filter(|(likeness, _)| *likeness > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
