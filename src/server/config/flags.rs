//! The flags of settings, made from the table.

use std::ffi::{OsStr, OsString};

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches};

use super::place::Place;
use super::settings::Config;
use super::table::{SETTINGS, Setting, find};

/// Names the file where no flag does.
pub(super) const FILE_VARIABLE: &str = "DAMSO_CONFIG";

/// Settings as they were given by flag.
#[derive(Clone, Default, Debug)]
pub struct Flags {
    file: Option<(OsString, &'static str)>,
    own: Vec<(&'static str, OsString)>,
    sets: Vec<OsString>,
}

impl Flags {
    /// The same, with this file.
    #[must_use]
    pub fn with_file(mut self, file: OsString) -> Self {
        self.file = Some((file, "FILE"));
        self
    }

    pub(super) fn file(&self) -> Option<(&OsStr, &'static str)> {
        self.file.as_ref().map(|(file, flag)| (&**file, *flag))
    }

    pub(super) fn own(&self) -> impl Iterator<Item = (&'static Setting, &OsStr)> {
        self.own.iter().filter_map(|(path, value)| Some((find(path)?, &**value)))
    }

    pub(super) fn sets(&self) -> impl Iterator<Item = &OsStr> {
        self.sets.iter().map(|set| &**set)
    }
}

/// A flag of ours: good before and behind a command.
fn flag(id: &'static str, long: &'static str, value: &'static str, help: String) -> Arg {
    Arg::new(id)
        .long(long)
        .value_name(value)
        .help(help)
        .value_parser(ValueParser::os_string())
        .global(true)
}

fn flag_of(setting: &'static Setting, long: &'static str) -> Arg {
    let default = match setting.place.shown(&Config::default()) {
        Some(value) if value != "[]" => format!(", default {}", value.trim_matches('"')),
        _ => String::new(),
    };
    let help = format!("{} [{}{default}]", setting.about, setting.variable);
    let arg = flag(setting.path, long, setting.place.value_name(), help);
    match setting.place {
        Place::Names(_) | Place::Networks(_) | Place::Files(_) => arg.action(ArgAction::Append),
        _ => arg,
    }
}

impl Args for Flags {
    fn augment_args(command: clap::Command) -> clap::Command {
        let file = format!(
            "Settings from a file (TOML); `damso config default` prints one [{FILE_VARIABLE}]"
        );
        let sets = "Any setting by its name in a file, like limits.group_members=500. Repeatable";
        let own = SETTINGS.iter().filter_map(|s| s.flag.map(|long| flag_of(s, long)));
        command
            .arg(flag("config", "config", "FILE", file))
            .args(own)
            .arg(flag("set", "set", "SECTION.KEY=VALUE", sets.to_owned()).action(ArgAction::Append))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let all = |id| matches.get_many::<OsString>(id).into_iter().flatten().cloned();
        let own = SETTINGS.iter().filter(|setting| setting.flag.is_some()).filter_map(|setting| {
            // Entries of a list may come in several flags; each other setting in one.
            let given: Vec<OsString> = all(setting.path).collect();
            (!given.is_empty()).then(|| (setting.path, given.join(OsStr::new(","))))
        });
        let file = all("config").next_back().map(|file| (file, "--config"));
        Ok(Self { file, own: own.collect(), sets: all("set").collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
