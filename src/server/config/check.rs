//! Everything that can be known without starting, for a start and for `damso config check`.

use std::ffi::OsString;

use super::flags::Flags;
use super::machine;
use super::mistake::{Mistake, Mistakes};
use super::read::read;
use super::relations;
use super::settings::Config;
use super::table::SETTINGS;

impl Config {
    /// Checks everything that can be known before anything is written: each value, what must hold
    /// between them, and the files that they name. Ports are not asked for.
    ///
    /// # Errors
    /// Everything that is wrong, with where it was said and what to do.
    pub fn check(&self) -> Result<(), Mistakes> {
        self.check_all(false)
    }

    /// The same, and that the ports are free.
    pub(in crate::server) fn check_for_start(&self) -> Result<(), Mistakes> {
        self.check_all(true)
    }

    fn check_all(&self, ports: bool) -> Result<(), Mistakes> {
        let mut mistakes: Vec<_> = SETTINGS.iter().filter_map(|s| s.misfit(self)).collect();
        mistakes.extend(relations::check(self, |_| true));
        mistakes.extend(machine::mistakes(self, ports));
        Mistakes::none_of(mistakes)
    }
}

/// What the command says.
pub struct Told {
    /// What is fine, for standard output.
    pub said: String,
    /// What is not, for standard error. Empty: nothing.
    pub mistakes: String,
}

/// Checks `file`, or what the flags name, together with flags and environment.
pub fn check(
    flags: &Flags,
    file: Option<OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    ports: bool,
) -> Told {
    let flags = match file {
        Some(file) => flags.clone().with_file(file),
        None => flags.clone(),
    };
    let read = read(&flags, environment, ports);
    let name = match flags.file() {
        Some((file, _)) => file.to_string_lossy().into_owned(),
        None => "the configuration".to_owned(),
    };
    match read {
        Ok(config) => look(&config, &name, ports),
        Err(mistakes) => Told { said: String::new(), mistakes: listed(&mistakes) },
    }
}

fn look(config: &Config, name: &str, ports: bool) -> Told {
    let mut wrong: Vec<Mistake> = Vec::new();
    let mut lines = String::new();
    for checked in machine::check_all(config, ports) {
        match checked.found {
            Ok(how) => lines.push_str(&format!("    {:<16}{how}\n", checked.name)),
            Err(mistakes) => {
                lines.push_str(&format!("    {:<16}see below\n", checked.name));
                wrong.extend(mistakes);
            }
        }
    }
    match Mistakes::none_of(wrong) {
        Ok(()) => Told { said: format!("{name} is fine\n{lines}"), mistakes: String::new() },
        Err(mistakes) => Told { said: format!("{name}\n{lines}"), mistakes: listed(&mistakes) },
    }
}

fn listed(mistakes: &Mistakes) -> String {
    format!("{}\n\n{}\n", mistakes.list(), mistakes.counted())
}
