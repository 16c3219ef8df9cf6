//! What an operator has a running server say or do: asked on its admin port.

use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::admin_port::{AdminPort, OperateError};
use super::config::{Config, ConnectionsArgs, DrainArgs, KickArgs, RevokeArgs, StatusArgs};
use super::told;
use crate::admin::{ConnectionRow, Connections, Draining, Ended, Status};
use crate::model::limits::CONNECTIONS_PER_PAGE_MAX;

/// How often a server that ends is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// What it may take beyond its own time to end: the stores are closed then.
const END_GRACE: Duration = Duration::from_secs(30);

/// How a server is, and whether it takes connections and messages.
///
/// # Errors
/// [`OperateError`].
pub fn status(config: &Config, arguments: &StatusArgs) -> Result<(String, bool), OperateError> {
    let port = AdminPort::of(config)?;
    let status: Status = port.get("/status", &[])?;
    let is_ready = status.not_ready.is_none() && status.shards.iter().all(Option::is_some);
    let text = if arguments.json { told::json(&status) } else { told::status(&status) };
    Ok((text, is_ready))
}

/// Who is connected.
///
/// # Errors
/// [`OperateError`].
pub fn connections(config: &Config, arguments: &ConnectionsArgs) -> Result<String, OperateError> {
    let ConnectionsArgs { user, max, json } = arguments;
    let port = AdminPort::of(config)?;
    let mut rows: Vec<ConnectionRow> = Vec::new();
    let mut after: Option<String> = None;
    while rows.len() < *max {
        let page = (max - rows.len()).min(CONNECTIONS_PER_PAGE_MAX).to_string();
        let mut query = vec![("max", &*page)];
        query.extend(user.as_deref().map(|user| ("user", user)));
        query.extend(after.as_deref().map(|after| ("after", after)));
        let page: Connections = port.get("/connections", &query)?;
        rows.extend(page.connections);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if *json {
        return Ok(rows.iter().map(told::json).collect());
    }
    Ok(told::connections(&rows, after.is_some()))
}

/// Ends connections; says how many.
///
/// # Errors
/// [`OperateError`].
pub fn kick(config: &Config, arguments: &KickArgs) -> Result<String, OperateError> {
    let KickArgs { user, device, connection, after } = arguments;
    let mut body = json!({ "after_s": after });
    for (name, value) in [("user", user), ("device", device), ("connection", connection)] {
        if let Some(value) = value {
            body[name] = value.as_str().into();
        }
    }
    let Ended { connections } = AdminPort::of(config)?.post("/kick", &body)?;
    Ok(format!("connections ended: {connections}\n"))
}

/// Ends a server, and waits until it has; `progress` is told how far it is.
///
/// # Errors
/// [`OperateError`].
pub fn drain(
    config: &Config,
    arguments: &DrainArgs,
    mut progress: impl FnMut(&str),
) -> Result<String, OperateError> {
    let DrainArgs { within, to } = arguments;
    let port = AdminPort::of(config)?;
    let mut body = json!({});
    if let Some(within) = within {
        body["within_s"] = (*within).into();
    }
    if !to.is_empty() {
        body["to"] = to.as_slice().into();
    }
    let begun = Instant::now();
    let Draining { connections } = port.post("/drain", &body)?;
    progress(&format!("draining: clients to tell: {connections}\n"));
    // The server's own setting, which need not be this one, is said to be kept below 600 s.
    let patience = config.limits.shutdown_time.max(Duration::from_secs(25)) + END_GRACE;
    let mut told = connections;
    while begun.elapsed() < patience {
        thread::sleep(LOOK_AGAIN);
        match port.get::<Status>("/status", &[]) {
            Ok(status) if status.facts.connections != told => {
                told = status.facts.connections;
                progress(&format!("connections left: {told}\n"));
            }
            Ok(_) => {}
            // It closes its stores, and is gone.
            Err(OperateError::NoServer { .. }) => {
                let seconds = begun.elapsed().as_secs_f64();
                let address = port.address();
                return Ok(format!("the server on {address} has ended, after {seconds:.1} s\n"));
            }
            Err(error) => return Err(error),
        }
    }
    Err(OperateError::StillThere(patience.as_secs()))
}

#[derive(Deserialize)]
struct Revoked {
    sessions: usize,
}

/// Revokes; says what that ended.
///
/// # Errors
/// [`OperateError`]; doing it again is safe.
pub fn revoke(config: &Config, arguments: &RevokeArgs) -> Result<String, OperateError> {
    let RevokeArgs { user, device } = arguments;
    let mut body = json!({ "user": user });
    if let Some(device) = device {
        body["device"] = device.as_str().into();
    }
    let Revoked { sessions } = AdminPort::of(config)?.post("/revoke", &body)?;
    let whose =
        device.as_ref().map_or("tokens so far".to_owned(), |device| format!("device {device}"));
    Ok(format!("revoked: {whose} of {user}; sessions ended: {sessions}\n"))
}
