//! A value in its place in the [`Config`]: read from text or TOML, bounded, shown.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use super::super::key_server;
use super::settings::Config;
use super::unit::{self, RATE_FORM, SIZE_FORM, TIME_FORM};
use crate::model::limits::{MEMORY_FLOOR_BYTES, TOKEN_BYTES_MAX};
use crate::model::rate::Rate;
use crate::store::directory::Provision;

/// Where a value stands, of what kind it is, and between what it must lie.
pub(super) enum Place {
    Address(fn(&mut Config) -> &mut SocketAddr),
    Directory(fn(&mut Config) -> &mut PathBuf),
    File(fn(&mut Config) -> &mut Option<PathBuf>),
    Files(fn(&mut Config) -> &mut Vec<PathBuf>),
    Text(fn(&mut Config) -> &mut String),
    /// Whom tokens must come from, as they name themselves.
    Issuer(fn(&mut Config) -> &mut Option<String>),
    /// From where keys may be fetched.
    Url(fn(&mut Config) -> &mut Option<String>),
    Names(fn(&mut Config) -> &mut Vec<String>),
    Networks(fn(&mut Config) -> &mut Vec<IpNet>),
    Provision(fn(&mut Config) -> &mut Provision),
    Count(fn(&mut Config) -> &mut usize, RangeInclusive<usize>),
    Bytes(fn(&mut Config) -> &mut usize, RangeInclusive<usize>),
    /// How much memory may be taken.
    Memory(fn(&mut Config) -> &mut Option<usize>),
    Time(fn(&mut Config) -> &mut Duration, RangeInclusive<Duration>),
    Rate(fn(&mut Config) -> &mut Rate),
}

/// A value as it was given.
#[derive(Clone, Copy)]
pub(super) enum Raw<'a> {
    /// By environment or flag.
    Text(&'a OsStr),
    /// By a file, in whose directory relative paths begin.
    Toml(&'a DeValue<'a>, &'a Path),
}

/// Why a value is none.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) advice: String,
}

/// Rates that a bucket can keep.
const RATES: RangeInclusive<u32> = 1..=1_000_000;
/// Least budget of memory, bytes.
const MEMORY_FLOOR: usize = MEMORY_FLOOR_BYTES as usize;
/// Longest text, bytes: what a token says is not longer.
const TEXT_BYTES_MAX: usize = TOKEN_BYTES_MAX;
/// Most entries of a list.
const LISTED_MAX: usize = 100;

impl Place {
    /// Reads a value into its place.
    pub(super) fn put(&self, config: &mut Config, raw: Raw<'_>) -> Result<(), Wrong> {
        match self {
            Self::Address(of) => *of(config) = parsed(raw, self.form(), |text| text.parse().ok())?,
            Self::Directory(of) => *of(config) = path(raw, self.form())?,
            Self::File(of) => *of(config) = Some(path(raw, self.form())?),
            Self::Files(of) => {
                let at = |file: &str| match raw {
                    Raw::Text(_) => PathBuf::from(file),
                    Raw::Toml(_, directory) => directory.join(file),
                };
                let read = |file: &str| (!file.is_empty()).then(|| at(file));
                *of(config) = list(raw, self.form(), read)?;
            }
            Self::Text(of) => *of(config) = parsed(raw, self.form(), words)?,
            Self::Issuer(of) | Self::Url(of) => {
                *of(config) = Some(parsed(raw, self.form(), words)?);
            }
            Self::Names(of) => *of(config) = list(raw, self.form(), |name| Some(name.to_owned()))?,
            Self::Networks(of) => *of(config) = list(raw, self.form(), |net| net.parse().ok())?,
            Self::Provision(of) => {
                *of(config) = parsed(raw, self.form(), |text| match text {
                    "auto" => Some(Provision::Auto),
                    "strict" => Some(Provision::Strict),
                    _ => None,
                })?;
            }
            Self::Count(of, _) => *of(config) = count(raw, self.form())?,
            Self::Bytes(of, _) => {
                *of(config) = parsed(raw, self.form(), unit::size)
                    .map_err(|wrong| with_unit(wrong, raw, "B"))?;
            }
            Self::Memory(of) => {
                let size = parsed(raw, self.form(), unit::size);
                *of(config) = Some(size.map_err(|wrong| with_unit(wrong, raw, "MiB"))?);
            }
            Self::Time(of, _) => {
                *of(config) = parsed(raw, self.form(), unit::time)
                    .map_err(|wrong| with_unit(wrong, raw, "s"))?;
            }
            Self::Rate(of) => *of(config) = parsed(raw, self.form(), unit::rate)?,
        }
        Ok(())
    }

    /// How far the value lies outside of what it may be.
    pub(super) fn misfit(&self, config: &Config) -> Option<Wrong> {
        // The places are of a configuration that can be changed; this one is thrown away.
        let config = &mut config.clone();
        let outside = |what: String, from: String, to: String| {
            Some(Wrong { what: format!("{what} is out of range"), advice: between(&from, &to) })
        };
        match self {
            Self::Count(of, range) if !range.contains(of(config)) => {
                outside(of(config).to_string(), range.start().to_string(), range.end().to_string())
            }
            Self::Bytes(of, range) if !range.contains(of(config)) => outside(
                unit::show_size(*of(config)),
                unit::show_size(*range.start()),
                unit::show_size(*range.end()),
            ),
            Self::Time(of, range) if !range.contains(of(config)) => outside(
                unit::show_time(*of(config)),
                unit::show_time(*range.start()),
                unit::show_time(*range.end()),
            ),
            Self::Memory(of) => {
                let size = of(config).filter(|size| *size < MEMORY_FLOOR)?;
                let what = format!("{} is too little for the stores alone", unit::show_size(size));
                Some(Wrong {
                    what,
                    advice: format!("write {} or more", unit::show_size(MEMORY_FLOOR)),
                })
            }
            Self::Url(of) => {
                let url = of(config).as_ref()?;
                let why = key_server::check(url).err()?;
                let Form { written, .. } = self.form();
                Some(Wrong { what: format!("{url:?}: {why}"), advice: format!("write {written}") })
            }
            Self::Rate(of) if !(kept(of(config).per_second) && kept(of(config).burst)) => outside(
                unit::show_rate(*of(config)),
                format!("{}/s burst {}", RATES.start(), RATES.start()),
                format!("{}/s burst {}", RATES.end(), RATES.end()),
            ),
            _ => None,
        }
    }

    /// The value as a file has it. `None`: there is none.
    pub(super) fn shown(&self, config: &Config) -> Option<String> {
        let config = &mut config.clone();
        Some(match self {
            Self::Address(of) => quoted(of(config).to_string()),
            Self::Directory(of) => quoted(of(config).display().to_string()),
            Self::File(of) => quoted(of(config).as_ref()?.display().to_string()),
            Self::Files(of) => listed(of(config).iter().map(|file| file.display())),
            Self::Text(of) => quoted(of(config).clone()),
            Self::Issuer(of) | Self::Url(of) => quoted(of(config).clone()?),
            Self::Names(of) => listed(of(config).iter()),
            Self::Networks(of) => listed(of(config).iter()),
            Self::Provision(of) => quoted(
                match of(config) {
                    Provision::Auto => "auto",
                    Provision::Strict => "strict",
                }
                .to_owned(),
            ),
            Self::Count(of, _) => of(config).to_string(),
            Self::Bytes(of, _) => quoted(unit::show_size(*of(config))),
            Self::Memory(of) => quoted(unit::show_size(of(config).as_ref().copied()?)),
            Self::Time(of, _) => quoted(unit::show_time(*of(config))),
            Self::Rate(of) => quoted(unit::show_rate(*of(config))),
        })
    }

    /// A value that stands for any, where there is none.
    pub(super) fn example(&self, key: &str) -> String {
        quoted(match self {
            Self::Issuer(_) => "https://id.example.org".to_owned(),
            Self::Url(_) => "https://id.example.org/jwks.json".to_owned(),
            Self::Memory(_) => "2GiB".to_owned(),
            _ => format!("{key}.pem"),
        })
    }

    /// What a value is, and how it is written.
    fn form(&self) -> Form {
        let form = |noun, written| Form { noun, written };
        match self {
            Self::Address(_) => form("an IP address and a port", "one like \"127.0.0.1:7443\""),
            Self::Directory(_) => form("the path of a directory", "one like \"/var/lib/damso\""),
            Self::File(_) => form("the path of a file", "one like \"cert.pem\""),
            Self::Files(_) => form("a list of paths of files", "one like [\"issuer.pem\"]"),
            Self::Text(_) => form("a text", "one like \"damso\""),
            Self::Issuer(_) => form("a text", "one like \"https://id.example.org\""),
            Self::Url(_) => form("a URL", "one like \"https://id.example.org/jwks.json\""),
            Self::Names(_) => form("a list of host names", "one like [\"chat.example.org\"]"),
            Self::Networks(_) => form("a list of networks", "one like [\"10.0.0.0/8\"]"),
            Self::Provision(_) => form("\"auto\" or \"strict\"", "one of the two"),
            Self::Count(..) => form("a whole number", "one like 100, without quotes"),
            Self::Bytes(..) | Self::Memory(_) => form("a size", SIZE_FORM),
            Self::Time(..) => form("a duration", TIME_FORM),
            Self::Rate(_) => form("a rate", RATE_FORM),
        }
    }

    /// Between what it must lie, for whoever chooses one.
    pub(super) fn range(&self) -> Option<String> {
        match self {
            Self::Count(_, range) if *range.end() == usize::MAX => None,
            Self::Count(_, range) => Some(format!("{} to {}", range.start(), range.end())),
            Self::Bytes(_, range) => Some(format!(
                "{} to {}",
                unit::show_size(*range.start()),
                unit::show_size(*range.end())
            )),
            Self::Memory(_) => Some(format!("{} or more", unit::show_size(MEMORY_FLOOR))),
            Self::Time(_, range) => Some(format!(
                "{} to {}",
                unit::show_time(*range.start()),
                unit::show_time(*range.end())
            )),
            _ => None,
        }
    }

    /// How help calls a value.
    pub(super) fn value_name(&self) -> &'static str {
        match self {
            Self::Address(_) => "IP:PORT",
            Self::Directory(_) => "DIRECTORY",
            Self::File(_) | Self::Files(_) => "FILE",
            Self::Text(_) | Self::Issuer(_) => "TEXT",
            Self::Url(_) => "URL",
            Self::Names(_) => "NAME",
            Self::Networks(_) => "NETWORK",
            Self::Provision(_) => "auto|strict",
            Self::Count(..) => "NUMBER",
            Self::Bytes(..) | Self::Memory(_) => "SIZE",
            Self::Time(..) => "TIME",
            Self::Rate(_) => "RATE",
        }
    }
}

/// A text that says something.
fn words(text: &str) -> Option<String> {
    (1..=TEXT_BYTES_MAX).contains(&text.len()).then(|| text.to_owned())
}

fn kept(number: u32) -> bool {
    RATES.contains(&number)
}

fn between(from: &str, to: &str) -> String {
    format!("write {from} to {to}")
}

/// What a value is, and how it is written, for whoever wrote another.
#[derive(Clone, Copy)]
struct Form {
    noun: &'static str,
    written: &'static str,
}

impl Form {
    fn broken_by(self, raw: Raw<'_>) -> Wrong {
        let Self { noun, written } = self;
        Wrong { what: format!("{} is not {noun}", raw.told()), advice: format!("write {written}") }
    }
}

fn parsed<T>(raw: Raw<'_>, form: Form, parse: impl Fn(&str) -> Option<T>) -> Result<T, Wrong> {
    text(raw).and_then(parse).ok_or_else(|| form.broken_by(raw))
}

/// A number alone lacks its unit.
fn with_unit(wrong: Wrong, raw: Raw<'_>, unit: &str) -> Wrong {
    let given = match raw {
        Raw::Toml(DeValue::Integer(number), _) => Some(number.to_string()),
        _ => text(raw).map(str::to_owned),
    };
    match given.filter(|given| unit::whole::<u64>(given).is_some()) {
        Some(number) => {
            let advice = format!("its unit is missing: write \"{number}{unit}\", or another unit");
            Wrong { advice, ..wrong }
        }
        None => wrong,
    }
}

fn text<'a>(raw: Raw<'a>) -> Option<&'a str> {
    match raw {
        Raw::Text(text) => text.to_str().map(str::trim),
        Raw::Toml(value, _) => value.as_str(),
    }
}

fn path(raw: Raw<'_>, form: Form) -> Result<PathBuf, Wrong> {
    let path = match raw {
        Raw::Text(text) => PathBuf::from(text),
        Raw::Toml(_, directory) => match text(raw) {
            Some(text) if !text.is_empty() => directory.join(text),
            _ => PathBuf::new(),
        },
    };
    if path.as_os_str().is_empty() { Err(form.broken_by(raw)) } else { Ok(path) }
}

/// A list of texts, each of which `read` understands; with commas where there is one text.
fn list<T>(raw: Raw<'_>, form: Form, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Wrong> {
    let found: Option<Vec<T>> = match raw {
        Raw::Text(_) => {
            text(raw).and_then(|text| text.split(',').map(|one| read(one.trim())).collect())
        }
        Raw::Toml(DeValue::Array(list), _) => {
            list.iter().map(|one| one.get_ref().as_str().and_then(&read)).collect()
        }
        Raw::Toml(..) => None,
    };
    found.filter(|found| found.len() <= LISTED_MAX).ok_or_else(|| form.broken_by(raw))
}

fn quoted(text: String) -> String {
    toml::Value::String(text).to_string()
}

fn listed(texts: impl Iterator<Item = impl ToString>) -> String {
    format!("[{}]", texts.map(|text| quoted(text.to_string())).collect::<Vec<_>>().join(", "))
}

fn count(raw: Raw<'_>, form: Form) -> Result<usize, Wrong> {
    let number = match raw {
        Raw::Text(_) => text(raw).and_then(unit::whole),
        Raw::Toml(DeValue::Integer(number), _) => {
            usize::from_str_radix(number.as_str(), number.radix()).ok()
        }
        Raw::Toml(..) => None,
    };
    number.ok_or_else(|| form.broken_by(raw))
}

impl Raw<'_> {
    /// The value as whoever gave it knows it.
    fn told(&self) -> String {
        match self {
            Self::Text(text) => format!("{:?}", text.to_string_lossy()),
            Self::Toml(value, _) => match value {
                DeValue::String(text) => format!("{text:?}"),
                DeValue::Integer(number) => number.to_string(),
                DeValue::Float(number) => number.to_string(),
                DeValue::Boolean(yes) => yes.to_string(),
                DeValue::Datetime(date) => date.to_string(),
                DeValue::Array(_) => "a list".to_owned(),
                DeValue::Table(_) => "a table".to_owned(),
            },
        }
    }
}
