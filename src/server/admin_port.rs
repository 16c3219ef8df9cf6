//! A running server's admin port, as a command on the same machine, or another, asks it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::http::{Response, StatusCode};

use super::config::{self, Config, Mistakes};
use crate::admin::{AdminToken, Refused};
use crate::model::limits::REVOKE_TIME_MAX;

/// For the way there and back.
const WAY_TIME_MAX: Duration = Duration::from_secs(5);
/// Longest answer that is read, bytes: a page of connections with the longest names there are.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Why it is not known to be done.
#[derive(thiserror::Error, Debug)]
pub enum OperateError {
    /// Nobody answers there.
    #[error(
        "no server answers on {address}: {source}; start it, or name its admin port with --admin IP:PORT (DAMSO_ADMIN)"
    )]
    NoServer {
        /// Where it was looked for.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: Box<ureq::Error>,
    },
    /// It wants another password, or one at all.
    #[error(
        "the server on {0} wants its admin token: name the file with --admin-token-file FILE (DAMSO_ADMIN_TOKEN_FILE)"
    )]
    NoToken(SocketAddr),
    /// There is no password where the configuration says.
    #[error("{0}")]
    Token(Mistakes),
    /// The server said no, and why.
    #[error("{0}")]
    Refused(String),
    /// Something answers that is no damso of this version.
    #[error("what answers on {0} is no admin port of damso {version}", version = env!("CARGO_PKG_VERSION"))]
    Foreign(SocketAddr),
    /// It began to end, and did not.
    #[error("the server was told to end, and has not after {0} s: look at its log")]
    StillThere(u64),
}

/// Where a server is asked.
pub(super) struct AdminPort {
    address: SocketAddr,
    token: Option<AdminToken>,
    agent: ureq::Agent,
}

impl AdminPort {
    /// The port that the configuration names.
    ///
    /// # Errors
    /// [`OperateError::Token`].
    pub(super) fn of(config: &Config) -> Result<Self, OperateError> {
        let token =
            config::admin_token(config).map_err(|wrong| OperateError::Token(wrong.into()))?;
        let mut address = config.admin;
        // Where a server listens on all addresses, this machine is one of them.
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(REVOKE_TIME_MAX + WAY_TIME_MAX))
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .build()
            .into();
        Ok(Self { address, token, agent })
    }

    /// Where it is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Reads something.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, OperateError> {
        let mut request = self.agent.get(self.url(path)).query_pairs(query.iter().copied());
        if let Some(bearer) = self.bearer() {
            request = request.header("authorization", bearer);
        }
        self.answered(request.call())
    }

    /// Has something done.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<T, OperateError> {
        let mut request =
            self.agent.post(self.url(path)).header("content-type", "application/json");
        if let Some(bearer) = self.bearer() {
            request = request.header("authorization", bearer);
        }
        self.answered(request.send(body.to_string().as_bytes()))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn bearer(&self) -> Option<String> {
        self.token.as_ref().map(|token| format!("Bearer {}", token.reveal()))
    }

    fn answered<T: DeserializeOwned>(
        &self,
        answer: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, OperateError> {
        let address = self.address;
        let failed = |source| OperateError::NoServer { address, source: Box::new(source) };
        let mut answer = answer.map_err(failed)?;
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let text = body.read_to_string().map_err(failed)?;
        match answer.status() {
            StatusCode::UNAUTHORIZED => Err(OperateError::NoToken(address)),
            status if status.is_success() => {
                serde_json::from_str(&text).map_err(|_| OperateError::Foreign(address))
            }
            _ => Err(match serde_json::from_str(&text) {
                Ok(Refused { error }) => OperateError::Refused(error),
                Err(_) => OperateError::Foreign(address),
            }),
        }
    }
}
