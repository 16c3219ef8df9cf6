//! What has been read so far, and what was wrong with it.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use super::mistake::{Mistake, Mistakes};
use super::origin::{Origin, Path};
use super::place::Raw;
use super::settings::Config;
use super::table::Setting;
use super::{machine, relations};

/// Longest value that is looked at, bytes. Nothing that fits a place is longer.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// What has been read so far, and what was wrong with it.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) config: Config,
    pub(super) mistakes: Vec<Mistake>,
    wrong: BTreeSet<Path>,
}

impl Reading {
    /// Takes a value of environment or flag.
    pub(super) fn text(&mut self, setting: &'static Setting, value: &OsStr, origin: Origin) {
        if value.len() > VALUE_BYTES_MAX {
            let what = format!("a value of {} bytes", value.len());
            let advice = format!("write one of at most {VALUE_BYTES_MAX}");
            self.wrong.insert(setting.path);
            return self.mistakes.push(Mistake::new(origin, setting.path, what, advice));
        }
        self.put(setting, Raw::Text(value), origin);
    }

    /// Takes a value that goes before what there was.
    pub(super) fn put(&mut self, setting: &'static Setting, raw: Raw<'_>, origin: Origin) {
        let put = setting.place.put(&mut self.config, raw);
        self.config.origins.put(setting.path, origin.clone());
        let wrong = match put {
            Ok(()) => setting.place.misfit(&self.config),
            Err(wrong) => Some(wrong),
        };
        if let Some(wrong) = wrong {
            self.wrong.insert(setting.path);
            self.mistakes.push(Mistake::new(origin, setting.path, wrong.what, wrong.advice));
        }
    }

    /// The configuration, if nothing was wrong and all of it fits together.
    pub(super) fn finish(mut self, ports: bool) -> Result<Config, Mistakes> {
        let sound = |path| !self.wrong.contains(path);
        self.mistakes.extend(relations::check(&self.config, sound));
        if !self.mistakes.is_empty() {
            let found = machine::mistakes(&self.config, ports).into_iter();
            let sound = |mistake: &Mistake| !self.wrong.contains(mistake.subject());
            self.mistakes.extend(found.filter(sound));
        }
        Mistakes::none_of(self.mistakes).map(|()| self.config)
    }
}
