//! The whole configuration as a file: annotated, and as it is now.

use super::budget::Budget;
use super::origin::Origin;
use super::settings::Config;
use super::table::{MEMORY, SECTIONS, Setting, of_section};
use crate::runtime::memory::Supply;

/// Longest line of a comment, characters.
const WIDTH: usize = 96;

const HEAD: &str = "\
Configuration of damso. Every line is a default: keep those that you change.

A flag goes before the environment, the environment before this file, and this file before
defaults. `damso config check FILE` finds all mistakes in a file, `damso config show` tells what is
in force and where it came from.

Durations are whole numbers with ms, s, m, h or d, sizes with B, KiB, MiB or GiB. A relative path
begins at the directory of this file.

What is not here is fixed: longest frame and message (64 KiB, 16 KiB), requests in flight (32), the
time for which a message's key is remembered (7 days), pages of members and channels (500, 200).";

/// Every setting with its default, what it does and how else it is given.
pub fn annotated() -> String {
    let config = Config::default();
    let mut text = comment(HEAD);
    for section in &SECTIONS {
        text.push_str(&format!("\n{}[{}]\n", comment(section.about), section.name));
        for setting in of_section(section.name) {
            let line = line(setting, &config);
            text.push_str(&format!(
                "\n{}{}{line}\n",
                comment(setting.about),
                comment(&also(setting))
            ));
        }
    }
    text
}

/// What is in force, with where each value came from.
pub fn effective(config: &Config) -> String {
    let mut text = String::new();
    for section in &SECTIONS {
        let gap = if text.is_empty() { "" } else { "\n" };
        text.push_str(&format!("{gap}[{}]\n", section.name));
        for setting in of_section(section.name) {
            let (mut line, mut origin) = match config.origin(setting.path) {
                Origin::Default => (line(setting, config), "default".to_owned()),
                given => (line(setting, config), given.to_string()),
            };
            if setting.path == MEMORY && config.memory.is_none() {
                let budget = Budget::new(None, &Supply::now());
                line = format!("# {} = \"{}\"", setting.key(), budget.size());
                origin = format!("default: {}", budget.why());
            }
            text.push_str(&format!("{line:<48} # {origin}\n"));
        }
    }
    text
}

/// A setting as a line of a file; a comment, where there is no value.
fn line(setting: &Setting, config: &Config) -> String {
    let key = setting.key();
    match setting.place.shown(config) {
        Some(value) => format!("{key} = {value}"),
        None => format!("# {key} = {}", setting.place.example(key)),
    }
}

/// How else a setting is given, and between what it must lie.
fn also(setting: &Setting) -> String {
    let flag = setting.flag.map(|flag| format!(", --{flag}")).unwrap_or_default();
    let range = setting.place.range().map(|range| format!("{range}; ")).unwrap_or_default();
    format!("{range}{}{flag}", setting.variable)
}

/// Text behind `#`, in lines of at most [`WIDTH`].
fn comment(text: &str) -> String {
    let mut lines = String::new();
    for paragraph in text.split("\n\n") {
        if !lines.is_empty() {
            lines.push_str("#\n");
        }
        let mut line = String::from("#");
        for word in paragraph.split_whitespace() {
            if line.len() + 1 + word.len() > WIDTH {
                lines.push_str(&line);
                lines.push('\n');
                line = String::from("#");
            }
            line.push(' ');
            line.push_str(word);
        }
        lines.push_str(&line);
        lines.push('\n');
    }
    lines
}
