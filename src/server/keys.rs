//! `damso key`: keys of backends, in the directory of a server that runs or does not.

use std::fs;
use std::sync::Arc;

use super::config::{Config, KeyCommand};
use crate::api::{self, Secret};
use crate::model::limits;
use crate::model::scope::{Scopes, UnknownScope};
use crate::runtime::clock::{Clock as _, RealClock};
use crate::runtime::random::SystemRandom;
use crate::store::directory::{
    self, DirectoryError, NewServiceKey, ServiceKey, ServiceKeyId, ServiceKeys as _, Sqlite,
};

/// Why nothing was done about a key.
#[derive(thiserror::Error, Debug)]
pub enum KeysError {
    /// A scope that is none.
    #[error(transparent)]
    Scope(#[from] UnknownScope),
    /// A name that is none.
    #[error("a name has 1 to {max} bytes without control characters", max = limits::SERVICE_KEY_NAME_BYTES_MAX)]
    Name,
    /// There is no such key.
    #[error("there is no key {0}: `damso key list` shows those there are")]
    Absent(u64),
    /// The data directory cannot be made.
    #[error("cannot make the data directory: {0}")]
    Data(#[source] std::io::Error),
    /// The directory cannot be used.
    #[error("directory: {0}")]
    Directory(#[from] DirectoryError),
}

/// What `damso key ...` prints, having done it.
///
/// # Errors
/// [`KeysError`]: nothing was done, unless the directory itself failed.
pub fn keys(config: &Config, command: &KeyCommand) -> Result<String, KeysError> {
    fs::create_dir_all(&config.data).map_err(KeysError::Data)?;
    let random = SystemRandom::new();
    let path = config.data.join("directory.sqlite");
    // None of its limits concerns keys.
    let options = directory::Options::default();
    let directory = Sqlite::open(&path, options, Arc::new(SystemRandom::new()))?;
    let now_ms = RealClock::new().unix_ms();
    match command {
        KeyCommand::Create { name, scope } => {
            let fits = (1..=limits::SERVICE_KEY_NAME_BYTES_MAX).contains(&name.len());
            if !fits || name.chars().any(char::is_control) {
                return Err(KeysError::Name);
            }
            let scopes = Scopes::parse(scope.iter().map(String::as_str))?;
            let secret = Secret::random(&random);
            let new = NewServiceKey { secret: secret.hash(), name, scopes, made_ms: now_ms };
            let id = directory.make_service_key(&new)?;
            Ok(format!("{}\n", api::text_of(id, &secret)))
        }
        KeyCommand::List => Ok(listed(&directory.service_keys()?)),
        KeyCommand::Revoke { id } => {
            let revoked = directory.revoke_service_key(ServiceKeyId(*id), now_ms)?;
            let key = revoked.ok_or(KeysError::Absent(*id))?;
            Ok(format!("key {id} ({}) is revoked\n", key.name))
        }
    }
}

fn listed(keys: &[ServiceKey]) -> String {
    let mut text = format!("{:>4}  {:<8}  {:<32}  name\n", "id", "state", "scopes");
    for key in keys {
        let state = if key.revoked_ms.is_some() { "revoked" } else { "good" };
        let scopes = key.scopes.to_string();
        text.push_str(&format!("{:>4}  {state:<8}  {scopes:<32}  {}\n", key.id.0, key.name));
    }
    text
}
