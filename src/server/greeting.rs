//! What a newcomer reads after the start, and `damso token`.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::config::{Config, TokenArgs};
use super::identity::{Identity, IdentityError};

/// The two people of the first minute.
const PEOPLE: [&str; 2] = ["alice", "bob"];
/// How long their tokens are good for.
const GOOD_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);

/// What a newcomer needs to know of a server that serves.
pub(super) struct Facts<'a> {
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) api: SocketAddr,
    pub(super) data: &'a Path,
    pub(super) identity: &'a Identity,
}

/// What stands on the terminal once the server serves.
pub(super) fn greeting(facts: &Facts<'_>) -> String {
    let Facts { address, admin, api, data, identity } = facts;
    let version = env!("CARGO_PKG_VERSION");
    let mut text = format!("damso {version}\nlistening on {address}\nadmin page http://{admin}\n");
    text.push_str(&format!(
        "API for backends https://{api}, with a key: damso key create NAME --scope all\n"
    ));
    text.push_str(&format!("data in {}\n", data.display()));
    let strings: Vec<_> = PEOPLE
        .iter()
        .filter_map(|uid| Some((uid, identity.connection_string(*address, uid, GOOD_FOR)?)))
        .collect();
    if strings.is_empty() {
        return text;
    }
    text.push_str("\nTwo people can chat now, each in a terminal of their own:\n");
    for (uid, string) in strings {
        let line = format!("\n  {uid}\n  cargo run --release -p damso-chat -- '{string}'\n");
        text.push_str(&line);
    }
    text.push_str("\nMore people: damso token --user NAME. Stop with Ctrl-C.\n");
    text
}

/// A connection string for one person, from the data directory of a server on this machine.
///
/// # Errors
/// There is no data directory yet, tokens are issued elsewhere, or the uid is not one.
pub fn token(config: &Config, arguments: &TokenArgs) -> Result<String, IdentityError> {
    let identity = Identity::of_existing(config)?;
    let good_for = Duration::from_secs(arguments.hours.saturating_mul(3_600));
    identity
        .connection_string(config.chat, &arguments.user, good_for)
        .ok_or_else(|| IdentityError::NoToken { uid: arguments.user.clone() })
}
