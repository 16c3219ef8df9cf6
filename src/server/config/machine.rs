//! What values need of this machine: files that can be used, a directory that can be written, ports
//! that are free. Nothing is written, and no port is kept.

use std::fs::File;
use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::Path as FilePath;

use rustix::fs::Access;

use super::budget::Budget;
use super::mistake::Mistake;
use super::origin::Path;
use super::settings::Config;
use super::table::{ADMIN, ADMIN_TOKEN, API, CERT, CHAT, DATA, KEY, MEMORY, TOKEN_KEYS, elsewhere};
use crate::admin::AdminToken;
use crate::model::limits::ADMIN_TOKEN_BYTES;
use crate::runtime::clock::{Clock as _, RealClock};
use crate::runtime::memory::Supply;
use crate::session::token::VerifyingKey;
use crate::transport::{self, Standing, certificate, certificate::CertificateError};

/// One thing that was looked at.
pub(super) struct Checked {
    /// What.
    pub(super) name: &'static str,
    /// How it is, or what is wrong.
    pub(super) found: Result<String, Vec<Mistake>>,
}

/// Looks at everything, with `ports` at those, too: a server that runs has them already.
pub(super) fn check_all(config: &Config, ports: bool) -> Vec<Checked> {
    let mut all = vec![
        Checked { name: "certificate", found: certificate_of(config) },
        Checked { name: "token keys", found: token_keys(config) },
        Checked { name: "admin port", found: admin_port(config) },
        Checked { name: "data directory", found: data(config) },
        Checked { name: "memory", found: memory(config) },
    ];
    all.extend(ports.then(|| Checked { name: "ports", found: free(config) }));
    all
}

/// Everything that is wrong.
pub(super) fn mistakes(config: &Config, ports: bool) -> Vec<Mistake> {
    let all = check_all(config, ports).into_iter();
    all.filter_map(|checked| checked.found.err()).flatten().collect()
}

fn mistake(config: &Config, path: Path, what: String, advice: impl Into<String>) -> Vec<Mistake> {
    vec![Mistake::new(config.origin(path), path, what, advice)]
}

fn certificate_of(config: &Config) -> Result<String, Vec<Mistake>> {
    let (Some(cert), Some(key)) = (&config.cert, &config.key) else {
        return Ok("a development certificate, made at the start".to_owned());
    };
    match certificate::read(cert, key) {
        Ok(read) => {
            let (pin, until) = (read.pin(), read.validity().until());
            let standing = match read.validity().standing(RealClock::new().unix_ms()) {
                Standing::Good => String::new(),
                Standing::Early => format!(" (not before {})", read.validity().since()),
                Standing::Soon | Standing::Urgent => " (soon: renew it)".to_owned(),
                Standing::Over => " (over: renew it)".to_owned(),
            };
            Ok(format!("{} and its key, pin {pin}, good until {until}{standing}", cert.display()))
        }
        Err(error) => {
            let path = match error {
                CertificateError::Key { .. } | CertificateError::Mismatch { .. } => KEY,
                _ => CERT,
            };
            Err(mistake(config, path, error.to_string(), error.advice()))
        }
    }
}

fn token_keys(config: &Config) -> Result<String, Vec<Mistake>> {
    if !config.is_issued_elsewhere() {
        return Ok("of the built-in issuer".to_owned());
    }
    let (mut from, mut wrong) = (Vec::new(), Vec::new());
    for path in &config.token_keys {
        match VerifyingKey::load(path) {
            Ok(keys) if keys.len() == 1 => from.push(path.display().to_string()),
            Ok(keys) => from.push(format!("{} ({} keys)", path.display(), keys.len())),
            Err(error) => wrong.extend(mistake(
                config,
                TOKEN_KEYS,
                error.to_string(),
                "give public keys of your issuer, each as a PEM file (BEGIN PUBLIC KEY: Ed25519, \
                 P-256 or RSA), as `openssl pkey -in private.pem -pubout` prints it, or a JWKS",
            )),
        }
    }
    // Nobody is asked: whether it answers now says nothing about later.
    from.extend(config.token_jwks.as_ref().map(|url| format!("{url}, once they are fetched")));
    if wrong.is_empty() { Ok(from.join(", ")) } else { Err(wrong) }
}

fn admin_port(config: &Config) -> Result<String, Vec<Mistake>> {
    match (admin_token(config), config.admin.ip().is_loopback()) {
        (Ok(None), _) => Ok("without a password, for this machine alone".to_owned()),
        (Ok(Some(_)), true) => Ok("with a password".to_owned()),
        (Ok(Some(_)), false) => Ok("with a password, plain HTTP: trust that network".to_owned()),
        (Err(mistake), _) => Err(vec![mistake]),
    }
}

/// The admin port's password, if it has one.
///
/// # Errors
/// Its file holds none, or cannot be read.
pub(in crate::server) fn admin_token(config: &Config) -> Result<Option<AdminToken>, Mistake> {
    let Some(path) = &config.admin_token_file else { return Ok(None) };
    let wrong = |what: String| {
        let advice = "make one: `head -c 32 /dev/urandom | base64 > admin-token`, a line of 32 to \
                      512 visible characters";
        Mistake::new(config.origin(ADMIN_TOKEN), ADMIN_TOKEN, what, advice)
    };
    let mut text = String::new();
    // One more than the longest, and the line's end.
    let max = *ADMIN_TOKEN_BYTES.end() as u64 + 2;
    let read = File::open(path).and_then(|file| file.take(max).read_to_string(&mut text));
    read.map_err(|error| wrong(format!("cannot read {}: {error}", path.display())))?;
    let token = AdminToken::parse(&text);
    token.map(Some).ok_or_else(|| wrong(format!("{} holds no password", path.display())))
}

fn data(config: &Config) -> Result<String, Vec<Mistake>> {
    let shown = config.data.display();
    // Whatever is not there yet is made in what is.
    let named = config.data.ancestors().filter(|path| !path.as_os_str().is_empty());
    let there = named.into_iter().find(|path| path.exists()).unwrap_or(FilePath::new("."));
    let advice = "give a directory that this user can write, or mend its owner and rights";
    if !there.is_dir() {
        let what = format!("{} is a file, not a directory", there.display());
        return Err(mistake(config, DATA, what, advice));
    }
    if let Err(error) = rustix::fs::access(there, Access::WRITE_OK | Access::EXEC_OK) {
        let what = format!("cannot write to {}: {}", there.display(), io::Error::from(error));
        return Err(mistake(config, DATA, what, advice));
    }
    let is_there = there == config.data;
    Ok(if is_there { format!("{shown}, writable") } else { format!("{shown}, can be made") })
}

/// Whoever sets no budget is given one, even where there is less memory.
fn memory(config: &Config) -> Result<String, Vec<Mistake>> {
    let supply = Supply::now();
    let budget = Budget::new(config.memory, &supply);
    match budget.beyond(&supply).filter(|_| config.memory.is_some()) {
        None => Ok(budget.to_string()),
        Some((there, whose)) => {
            let what = format!("{} is more than the {} MiB {whose}", budget.size(), there >> 20);
            let advice = "write less, or leave it out: then it suits the machine";
            Err(mistake(config, MEMORY, what, advice))
        }
    }
}

fn free(config: &Config) -> Result<String, Vec<Mistake>> {
    let wrong: Vec<_> = [(CHAT, config.chat), (ADMIN, config.admin), (API, config.api)]
        .into_iter()
        .filter_map(|(path, address)| {
            let error = transport::probe(address).err()?;
            Some(not_served(config, path, address, &error))
        })
        .collect();
    if wrong.is_empty() {
        Ok(format!("{}, {} and {} are free", config.chat, config.admin, config.api))
    } else {
        Err(wrong)
    }
}

/// The chat port is not free any more.
pub(in crate::server) fn not_chat(
    config: &Config,
    address: SocketAddr,
    error: &io::Error,
) -> Mistake {
    not_served(config, CHAT, address, error)
}

/// The admin port is not free any more.
pub(in crate::server) fn not_admin(config: &Config, error: &io::Error) -> Mistake {
    not_served(config, ADMIN, config.admin, error)
}

/// The API's port is not free any more.
pub(in crate::server) fn not_api(config: &Config, error: &io::Error) -> Mistake {
    not_served(config, API, config.api, error)
}

/// Why an address of ours cannot be listened on, and what to do.
fn not_served(config: &Config, path: Path, address: SocketAddr, error: &io::Error) -> Mistake {
    let other = elsewhere(path);
    let (what, advice) = match error.kind() {
        io::ErrorKind::AddrInUse => (
            format!("{address} is taken: another program listens there"),
            format!(
                "stop that program (`ss -ltnp 'sport = :{}'` names it), or choose another port:\n{other}",
                address.port()
            ),
        ),
        io::ErrorKind::PermissionDenied => (
            format!("this user may not listen on {address}"),
            format!("ports below 1024 need a privilege; choose another:\n{other}"),
        ),
        io::ErrorKind::AddrNotAvailable => (
            format!("{address} is no address of this machine"),
            format!("write one that `ip address` lists, or 0.0.0.0 for all:\n{other}"),
        ),
        _ => (format!("cannot listen on {address}: {error}"), format!("choose another:\n{other}")),
    };
    Mistake::new(config.origin(path), path, what, advice)
}

/// The data directory cannot be made.
pub(in crate::server) fn no_data(config: &Config, error: &io::Error) -> Mistake {
    let what = format!("cannot make {}: {error}", config.data.display());
    let advice = format!("choose another: {}", elsewhere(DATA));
    Mistake::new(config.origin(DATA), DATA, what, advice)
}
