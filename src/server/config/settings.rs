//! The values: how a server is to be.

use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;

use super::origin::{Origin, Origins, Path};
use crate::model::limits::Limits;
use crate::runtime::placement::Shards;
use crate::session::token::AUDIENCE;
use crate::store::directory::Provision;

/// How a server is to be. A default one is good for trying: it serves on loopback.
///
/// Read by [`Cli::config`](super::Cli::config) it has been checked but for what it needs of the
/// machine; [`Server::start`](crate::server::Server::start) checks it whole, however it was made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Where chat clients connect (TLS). Port 0 takes a free one.
    pub chat: SocketAddr,
    /// The admin port, plain HTTP.
    pub admin: SocketAddr,
    /// A file with its password. `None`: it has none, and is on loopback.
    pub admin_token_file: Option<PathBuf>,
    /// Where backends ask, HTTPS.
    pub api: SocketAddr,
    /// Certificate chain (PEM). `None`: a development CA of the server's own.
    pub cert: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    pub key: Option<PathBuf>,
    /// Further names of the development certificate.
    pub names: Vec<String>,
    /// Networks of load balancers that say whose connections they bring (PROXY protocol, version 2).
    pub trusted_proxies: Vec<IpNet>,
    /// Directory of everything that is kept.
    pub data: PathBuf,
    /// Public keys of whoever issues tokens, each file one key (PEM: Ed25519, P-256 or RSA) or a
    /// JWKS. With none here and at `token_jwks`: the built-in issuer.
    pub token_keys: Vec<PathBuf>,
    /// Where an issuer publishes its keys (JWKS): https, or http on this machine.
    pub token_jwks: Option<String>,
    /// What the tokens' `aud` must hold.
    pub token_audience: String,
    /// What the tokens' `iss` must be. `None`: anything.
    pub token_issuer: Option<String>,
    /// Whether a valid token of an unknown person makes the person.
    pub provision: Provision,
    /// Worker threads; 0: one per core.
    pub shards: usize,
    /// Most connections at a time; 0: what the descriptor limit allows.
    pub connections: usize,
    /// Further addresses of this service, HOST:PORT, for clients that do not reach this server.
    pub alternates: Vec<String>,
    /// Memory that the server may take, bytes. `None`: what suits the machine.
    pub memory: Option<usize>,
    /// What people may, and how much.
    pub limits: Limits,
    /// Where values came from, for whoever is told that one of them is wrong.
    pub origins: Origins,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            chat: SocketAddr::from(([127, 0, 0, 1], 7443)),
            admin: SocketAddr::from(([127, 0, 0, 1], 9464)),
            admin_token_file: None,
            api: SocketAddr::from(([127, 0, 0, 1], 7480)),
            cert: None,
            key: None,
            names: Vec::new(),
            trusted_proxies: Vec::new(),
            data: PathBuf::from("damso-data"),
            token_keys: Vec::new(),
            token_jwks: None,
            token_audience: AUDIENCE.to_owned(),
            token_issuer: None,
            provision: Provision::Auto,
            shards: 0,
            connections: 0,
            alternates: Vec::new(),
            memory: None,
            limits: Limits::DEFAULT,
            origins: Origins::default(),
        }
    }
}

impl Config {
    /// Where the value of this setting came from.
    pub(super) fn origin(&self, path: Path) -> Origin {
        self.origins.of(path)
    }

    /// Whether somebody else than the built-in issuer makes tokens.
    pub(in crate::server) fn is_issued_elsewhere(&self) -> bool {
        !self.token_keys.is_empty() || self.token_jwks.is_some()
    }

    /// Worker threads.
    pub fn shard_count(&self) -> Shards {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let asked = if self.shards > 0 { self.shards } else { cores };
        let count = u16::try_from(asked).unwrap_or(Shards::MAX).min(Shards::MAX);
        Shards::new(count).unwrap_or(Shards::ONE)
    }
}
