//! A configuration put together by precedence: flag > environment > file > default.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::file;
use super::flags::{FILE_VARIABLE, Flags};
use super::mistake::{Mistake, Mistakes, likeness, nearest};
use super::origin::Origin;
use super::reading::Reading;
use super::settings::Config;
use super::table::SETTINGS;

/// What all variables begin with.
const PREFIX: &str = "DAMSO_";
/// A variable is taken for one of ours above this likeness, 0-1; below, for somebody else's.
const SLIP: f64 = 0.9;

/// Reads a configuration, and checks it as far as it can be without asking the machine. Each
/// value that was given must be one, even where another goes before it.
///
/// `environment`: name and value of its variables; those of others are left alone. If anything is
/// wrong, the machine is asked, too, so that all of it is told at once: for `ports` if they are
/// needed.
///
/// # Errors
/// Everything that is wrong, with where it was said and what to do.
pub(super) fn read(
    flags: &Flags,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    ports: bool,
) -> Result<Config, Mistakes> {
    let mut reading = Reading::default();
    // An empty variable is one that is not set: composed environments cannot leave one out.
    let environment = environment.into_iter().filter(|(_, value)| !value.is_empty());
    let ours = environment.filter_map(|(name, value)| {
        Some((name.to_str().filter(|name| name.starts_with(PREFIX))?.to_owned(), value))
    });
    let mut ours: Vec<(String, OsString)> = ours.collect();
    ours.sort();
    let by_variable = ours.iter().find(|(name, _)| name == FILE_VARIABLE);
    let named = match (flags.file(), by_variable) {
        (Some((path, flag)), _) => Some((PathBuf::from(path), Origin::Flag(flag.to_owned()))),
        (None, Some((name, path))) => Some((path.into(), Origin::Variable(name.clone()))),
        (None, None) => None,
    };
    if let Some((path, named)) = named {
        match file::load(&path, named) {
            Ok(text) => file::apply(&path, &text, &mut reading),
            Err(mistake) => reading.mistakes.push(mistake),
        }
    }
    for (name, value) in &ours {
        match SETTINGS.iter().find(|setting| setting.variable == name) {
            Some(setting) => reading.text(setting, value, Origin::Variable(name.clone())),
            None => reading.mistakes.extend(misspelt(name)),
        }
    }
    for (setting, value) in flags.own() {
        reading.text(
            setting,
            value,
            Origin::Flag(format!("--{}", setting.flag.unwrap_or_default())),
        );
    }
    for given in flags.sets() {
        match file::set(given) {
            Ok((setting, value)) => {
                reading.text(setting, OsStr::new(value), Origin::Flag("--set".to_owned()));
            }
            Err(mistake) => reading.mistakes.push(mistake),
        }
    }
    reading.finish(ports)
}

/// A variable that is almost one of ours. Others may begin like ours: some orchestrators make
/// `DAMSO_SERVICE_HOST` of a service called damso.
fn misspelt(name: &str) -> Option<Mistake> {
    if name == FILE_VARIABLE {
        return None;
    }
    let bare = |name: &'static str| name.trim_start_matches(PREFIX);
    let names = SETTINGS.iter().map(|setting| bare(setting.variable)).chain([bare(FILE_VARIABLE)]);
    let word = name.trim_start_matches(PREFIX);
    let like = nearest(word, names).filter(|like| likeness(word, like) > SLIP)?;
    let origin = Origin::Variable(name.to_owned());
    let advice =
        format!("did you mean {PREFIX}{like}? If it is somebody else's, call it otherwise");
    Some(Mistake::new(origin, "", "there is no such setting", advice))
}
