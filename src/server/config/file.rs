//! A TOML file against the table: every key is known, every value fits its place.
//!
//! The file is walked, not deserialised, so that all of its mistakes are told at once.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::mistake::{Mistake, nearest};
use super::origin::Origin;
use super::place::Raw;
use super::reading::Reading;
use super::table::{self, SECTIONS, SETTINGS};

/// Longest file, bytes: the whole configuration, annotated, has a tenth of it.
const BYTES_MAX: u64 = 256 * 1024;

/// Reads the file. Named by `flag` or variable, which is at fault when there is none.
///
/// # Errors
/// It cannot be read.
pub(super) fn load(path: &Path, named: Origin) -> Result<String, Mistake> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_string(&mut text));
    let (what, advice) = match read {
        Err(error) => (
            format!("cannot read {}: {error}", path.display()),
            "name a text file that this user can read; `damso config default` prints one to begin with",
        ),
        Ok(read) if read as u64 > BYTES_MAX => (
            format!("{} is longer than {BYTES_MAX} bytes", path.display()),
            "name a configuration file (TOML)",
        ),
        Ok(_) => return Ok(text),
    };
    Err(Mistake::new(named, "", what, advice))
}

/// Puts what the file says into the reading. Relative paths in it begin at its directory.
pub(super) fn apply(path: &Path, text: &str, reading: &mut Reading) {
    let walk = Walk { path, text, directory: path.parent().unwrap_or(Path::new("")) };
    let (table, errors) = DeTable::parse_recoverable(text);
    // What is read from a line that is no TOML means nothing, and one thing is enough to say of it.
    let mut broken = BTreeMap::new();
    for error in &errors {
        let line = walk.line(&error.span().unwrap_or(0..0));
        broken.entry(line).or_insert_with(|| walk.syntax(line, error.message()));
    }
    let lines = broken.keys().copied().collect::<Vec<_>>();
    reading.mistakes.extend(broken.into_values());
    for (name, value) in table.get_ref() {
        if !lines.contains(&walk.line(&name.span())) {
            walk.section(name.get_ref(), &name.span(), value.get_ref(), &lines, reading);
        }
    }
}

struct Walk<'a> {
    path: &'a Path,
    text: &'a str,
    directory: &'a Path,
}

impl Walk<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or(self.text.as_bytes());
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn origin(&self, line: usize) -> Origin {
        Origin::File { path: self.path.into(), line }
    }

    fn section(
        &self,
        name: &str,
        span: &Range<usize>,
        value: &DeValue<'_>,
        broken: &[usize],
        reading: &mut Reading,
    ) {
        let line = self.line(span);
        let known = SECTIONS.iter().any(|section| section.name == name);
        let DeValue::Table(keys) = value else {
            let (what, advice) = top_level(name, known);
            return reading.mistakes.push(Mistake::new(self.origin(line), name, what, advice));
        };
        if !known {
            let subject = format!("[{name}]");
            let advice = no_section(name);
            let what = "there is no such section";
            return reading.mistakes.push(Mistake::new(self.origin(line), subject, what, advice));
        }
        for (key, value) in keys {
            let line = self.line(&key.span());
            if broken.contains(&line) {
                continue;
            }
            let path = format!("{name}.{}", key.get_ref());
            match table::find(&path) {
                Some(setting) => {
                    let raw = Raw::Toml(value.get_ref(), self.directory);
                    reading.put(setting, raw, self.origin(line));
                }
                None => {
                    let advice = no_key(name, key.get_ref());
                    let what = "there is no such key";
                    reading.mistakes.push(Mistake::new(self.origin(line), path, what, advice));
                }
            }
        }
    }

    /// A line that is no TOML. Mostly a text lacks its quotes.
    fn syntax(&self, line: usize, message: &str) -> Mistake {
        let written = self.text.lines().nth(line - 1).unwrap_or_default();
        let bare = written.split_once('=').map(|(key, value)| {
            let value = value.split('#').next().unwrap_or_default();
            (key.trim(), value.trim())
        });
        let advice = match bare {
            _ if message == "duplicate key" => {
                "it was given before: keep one of the two".to_owned()
            }
            Some((key, value)) if !value.is_empty() && !value.contains(['"', '\'', '[', '{']) => {
                format!("write texts in quotes: {key} = \"{value}\"")
            }
            _ => "write sections as [name] and settings as key = value, one a line".to_owned(),
        };
        let what = match message {
            "duplicate key" => format!("`{}` stands here twice", written.trim()),
            _ => format!("`{}` is no TOML: {message}", written.trim()),
        };
        Mistake::new(self.origin(line), "", what, advice)
    }
}

/// A value that stands before any section, or a section's name that was given a value.
fn top_level(name: &str, known: bool) -> (String, String) {
    if known {
        let keys = table::of_section(name).map(|setting| setting.key()).collect::<Vec<_>>();
        let what = "this is a section, not a value".to_owned();
        return (what, format!("write [{name}], and below it one of {}", keys.join(", ")));
    }
    let what = "there is no such key outside of a section".to_owned();
    match home_of(name) {
        Some(setting) => {
            (what, format!("did you mean {}, below [{}]?", setting.key(), setting.section()))
        }
        None => (what, format!("write it below its section: {}", section_names())),
    }
}

fn no_section(name: &str) -> String {
    match nearest(name, SECTIONS.iter().map(|section| section.name)) {
        Some(like) => format!("did you mean [{like}]? There are {}", section_names()),
        None => format!("there are {}", section_names()),
    }
}

fn no_key(section: &str, key: &str) -> String {
    let own = || table::of_section(section).map(|setting| setting.key());
    let all = own().collect::<Vec<_>>().join(", ");
    if let Some(like) = nearest(key, own()) {
        return format!("did you mean {like}? There are {all}");
    }
    match home_of(key) {
        Some(home) if home.key() == key => format!("it belongs below [{}]", home.section()),
        Some(home) => format!("did you mean {}, below [{}]?", home.key(), home.section()),
        None => format!("[{section}] has {all}"),
    }
}

/// The setting that is known by this key, or by this flag, in whatever section.
fn home_of(key: &str) -> Option<&'static table::Setting> {
    let flag = key.replace('_', "-");
    let by_flag = SETTINGS.iter().find(|setting| setting.flag == Some(&flag));
    by_flag.or_else(|| {
        let like = nearest(key, SETTINGS.iter().map(|setting| setting.key()))?;
        SETTINGS.iter().find(|setting| setting.key() == like)
    })
}

fn section_names() -> String {
    SECTIONS.iter().map(|section| format!("[{}]", section.name)).collect::<Vec<_>>().join(", ")
}

/// Splits what `--set` was given.
///
/// # Errors
/// It names no setting.
pub(super) fn set(given: &OsStr) -> Result<(&'static table::Setting, &str), Mistake> {
    let wrong = |subject: &str, what: &str, advice: String| {
        Mistake::new(Origin::Flag("--set".to_owned()), subject, what, advice)
    };
    let form = "write --set section.key=value, like --set limits.group_members=500";
    let lossy = given.to_string_lossy();
    let (path, value) = given
        .to_str()
        .and_then(|text| text.split_once('='))
        .ok_or_else(|| wrong(&lossy, "this sets nothing", form.to_owned()))?;
    let path = path.trim();
    table::find(path).map(|setting| (setting, value)).ok_or_else(|| {
        let like = nearest(path, SETTINGS.iter().map(|setting| setting.path));
        let advice = match like {
            Some(like) => format!("did you mean {like}?"),
            None => "`damso config default` lists all settings".to_owned(),
        };
        wrong(path, "there is no such setting", advice)
    })
}
