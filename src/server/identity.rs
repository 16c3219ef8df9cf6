//! Who issues tokens, and the server's certificate.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use damso_proto::address::{ConnectionString, Token};
use damso_proto::id::Uid;

use super::config::Config;
use crate::runtime::clock::{Clock, RealClock};
use crate::runtime::random::SystemRandom;
use crate::session::Proofs;
use crate::session::token::{Fetched, Issuer, KeyError, Pace, Verifier, VerifyingKey};
use crate::store::directory::{Directory, Provision};
use crate::transport::certificate::{self, CertificateError};
use crate::transport::{Door, Renewal, Tls};

/// The built-in issuer's key pair, in the data directory.
const TOKEN_KEY: &str = "token-key.pem";

/// Keys that cannot be used.
#[derive(thiserror::Error, Debug)]
pub enum IdentityError {
    /// A token key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A certificate or its key.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// `damso token` before the first start.
    #[error("there is no server data in {}: start `damso` once, or name its directory with --data (DAMSO_DATA)", .0.display())]
    NoData(PathBuf),
    /// A uid that is none, or an issuer that is elsewhere.
    #[error(
        "no token for {uid:?}: a uid has 1-64 bytes without control characters, and with --token-key or --token-jwks tokens come from your own issuer"
    )]
    NoToken {
        /// As it was given.
        uid: String,
    },
}

/// Who the server is, and how it knows who others are.
pub(super) struct Identity {
    tls: Tls,
    renewal: Option<Renewal>,
    issuer: Option<Issuer>,
    verifier: Arc<Verifier>,
    fetched: Option<Arc<Fetched>>,
    proofs: Arc<Proofs>,
    names: Vec<String>,
}

impl Identity {
    /// Loads what the configuration names; the rest is in the data directory, or made there.
    pub(super) fn open(config: &Config) -> Result<Self, IdentityError> {
        let (tls, renewal) = match (&config.cert, &config.key) {
            (Some(chain), Some(key)) => {
                let renewal = Renewal::open(chain, key)?;
                (renewal.tls(), Some(renewal))
            }
            _ => {
                let now_ms = RealClock::new().unix_ms();
                let made = certificate::development(&config.data, &config.names, now_ms)?;
                (Tls::new(made)?, None)
            }
        };
        let mut keys = Vec::new();
        for path in &config.token_keys {
            keys.extend(VerifyingKey::load(path)?);
        }
        let fetched = config.token_jwks.as_ref().map(|_| Arc::new(Fetched::new(Pace::default())));
        let issuer = if config.is_issued_elsewhere() {
            None
        } else {
            let issuer = Issuer::open_or_make(&config.data.join(TOKEN_KEY))?;
            keys.push(issuer.verifying_key());
            Some(issuer)
        };
        let verifier = Verifier::new(keys).and_fetched(fetched.clone());
        let (audience, iss) = (config.token_audience.clone(), config.token_issuer.clone());
        let verifier = Arc::new(verifier.meant_for(audience, iss));
        let proofs = Arc::new(Proofs::new(&SystemRandom::new()));
        let names = config.names.clone();
        Ok(Self { tls, renewal, issuer, verifier, fetched, proofs, names })
    }

    /// The identity of a server that has started here before.
    pub(super) fn of_existing(config: &Config) -> Result<Self, IdentityError> {
        let known = |name: &str| Path::new(&config.data).join(name).exists();
        if !known(TOKEN_KEY) && !config.is_issued_elsewhere() {
            return Err(IdentityError::NoData(config.data.clone()));
        }
        Self::open(config)
    }

    /// Where keys go that are fetched.
    pub(super) fn fetched(&self) -> Option<&Arc<Fetched>> {
        self.fetched.as_ref()
    }

    /// Checks tokens.
    pub(super) fn verifier(&self) -> Arc<Verifier> {
        self.verifier.clone()
    }

    pub(super) fn tls(&self) -> Arc<rustls::ServerConfig> {
        self.tls.config.clone()
    }

    /// Until when the certificate that is shown now is good, seconds since 1970.
    pub(super) fn certificate_until_s(&self) -> i64 {
        self.tls.certificate().validity().not_after
    }

    /// What follows the operator's certificate, once. `None`: it is the server's own.
    pub(super) fn take_renewal(&mut self) -> Option<Renewal> {
        self.renewal.take()
    }

    pub(super) fn door(&self, directory: Arc<dyn Directory>, provision: Provision) -> Door {
        let (verifier, proofs) = (self.verifier.clone(), self.proofs.clone());
        Door { verifier, proofs, directory, provision }
    }

    /// A connection string for `uid`. `None`: tokens are issued elsewhere, or it is no uid.
    pub(super) fn connection_string(
        &self,
        address: SocketAddr,
        uid: &str,
        good_for: Duration,
    ) -> Option<String> {
        let token = self.token(&Uid::parse(uid)?, good_for)?;
        self.string_with(address, &token)
    }

    /// A token for `uid`. `None`: tokens are issued elsewhere.
    pub(super) fn token(&self, uid: &Uid, good_for: Duration) -> Option<String> {
        let token = self.issuer.as_ref()?.issue(uid, good_for, RealClock::new().unix_ms());
        Some(token.as_str().to_owned())
    }

    /// A connection string with this token.
    pub(super) fn string_with(&self, address: SocketAddr, token: &str) -> Option<String> {
        let mut string = ConnectionString::new(&self.host(address), address.port()).ok()?;
        string.pin = self.tls.pin().parse().ok();
        string.token = Some(Token::new(token).ok()?);
        Some(string.reveal())
    }

    /// What clients call this server: the address it listens on, or a name if it listens on all.
    fn host(&self, address: SocketAddr) -> String {
        match (address.ip().is_unspecified(), self.names.first()) {
            (false, _) => address.ip().to_string(),
            (true, Some(name)) => name.clone(),
            (true, None) => "localhost".to_owned(),
        }
    }
}
