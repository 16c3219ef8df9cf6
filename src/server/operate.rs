//! What an operator has a running server do: asked on its admin port.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use ureq::http::StatusCode;

use super::config::{Config, RevokeArgs};
use crate::model::limits::{ADMIN_BODY_BYTES_MAX, REVOKE_TIME_MAX};

/// For the way there and back.
const WAY_TIME_MAX: Duration = Duration::from_secs(5);

/// Why it is not known to be done.
#[derive(thiserror::Error, Debug)]
pub enum OperateError {
    /// Nobody answers there.
    #[error(
        "no server answers on {address}: {source}; start it, or name its admin address with --admin IP:PORT (DAMSO_ADMIN)"
    )]
    NoServer {
        /// Where it was looked for.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The server said no, and why.
    #[error("{0}")]
    Refused(String),
    /// Something answers that is no damso of this version.
    #[error("what answers on {0} is no admin port of damso")]
    Foreign(SocketAddr),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Sessions(usize),
    Error(String),
}

/// Revokes at a running server; says what that ended.
///
/// # Errors
/// [`OperateError`]; doing it again is safe.
pub fn revoke(config: &Config, arguments: &RevokeArgs) -> Result<String, OperateError> {
    let RevokeArgs { user, device } = arguments;
    let mut body = json!({ "user": user });
    if let Some(device) = device {
        body["device"] = device.as_str().into();
    }
    match post(config.admin, "/revoke", &body)? {
        (StatusCode::OK, Said::Sessions(sessions)) => {
            let whose = device
                .as_ref()
                .map_or("tokens so far".to_owned(), |device| format!("device {device}"));
            Ok(format!("revoked: {whose} of {user}; sessions ended: {sessions}"))
        }
        (_, Said::Error(why)) => Err(OperateError::Refused(why)),
        _ => Err(OperateError::Foreign(config.admin)),
    }
}

fn post(
    address: SocketAddr,
    path: &str,
    body: &serde_json::Value,
) -> Result<(StatusCode, Said), OperateError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(REVOKE_TIME_MAX + WAY_TIME_MAX))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build()
        .into();
    let failed = |source| OperateError::NoServer { address, source: Box::new(source) };
    let request = agent.post(format!("http://{address}{path}"));
    let request = request.header("content-type", "application/json");
    let mut answer = request.send(body.to_string().as_bytes()).map_err(failed)?;
    let limit = ADMIN_BODY_BYTES_MAX as u64;
    let text = answer.body_mut().with_config().limit(limit).read_to_string().map_err(failed)?;
    let said = serde_json::from_str(&text).map_err(|_| OperateError::Foreign(address))?;
    Ok((answer.status(), said))
}
