//! Command line and environment. Checked whole before anything binds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::runtime::placement::Shards;
use crate::store::directory::Provision;

/// A chat server: durable, ordered, fast.
///
/// Without a command it serves, with embedded stores in ./damso-data and a development
/// certificate of its own. It prints what two people need to chat.
#[derive(Parser, Debug)]
#[command(
    name = "damso",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  damso                                       serve on 127.0.0.1:7443\n  damso --listen 0.0.0.0:7443 --name chat.example.org\n  damso token --user alice                    a connection string for alice\n\nEvery option can be given by environment, too: DAMSO_LISTEN, DAMSO_DATA, ..."
)]
pub struct Cli {
    /// What to do; nothing = serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of the server.
    #[command(flatten)]
    pub config: Config,
}

/// What else the binary does.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Serve (the default).
    Serve,
    /// Print a connection string for a person, signed by the built-in issuer.
    Token(TokenArgs),
}

/// Options of `damso token`.
#[derive(Args, Clone, Debug)]
pub struct TokenArgs {
    /// The person's uid: 1-64 bytes, any text your users are known by.
    #[arg(long)]
    pub user: String,
    /// How long the token is good for, in hours.
    #[arg(long, default_value_t = 24 * 30)]
    pub hours: u64,
}

/// Whether a valid token of an unknown person makes the person.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProvisionArg {
    /// Yes.
    Auto,
    /// No: people are made beforehand.
    Strict,
}

/// How a server is to be.
#[derive(Args, Clone, Debug)]
pub struct Config {
    /// Where chat clients connect (TLS). Port 0 takes a free one.
    #[arg(long, env = "DAMSO_LISTEN", default_value = "127.0.0.1:7443", global = true)]
    pub listen: SocketAddr,
    /// The admin page: metrics and health, plain HTTP. Keep it on loopback.
    #[arg(long, env = "DAMSO_ADMIN", default_value = "127.0.0.1:9464", global = true)]
    pub admin: SocketAddr,
    /// Directory of everything that is kept. Made if absent.
    #[arg(long, env = "DAMSO_DATA", default_value = "damso-data", global = true)]
    pub data: PathBuf,
    /// Worker threads; 0 = one per core.
    #[arg(long, env = "DAMSO_SHARDS", default_value_t = 0, global = true)]
    pub shards: u16,
    /// Most connections at a time; 0 = what the descriptor limit allows.
    #[arg(long, env = "DAMSO_CONNECTIONS", default_value_t = 0, global = true)]
    pub connections: usize,
    /// Certificate chain (PEM). Without it the server makes a development CA of its own.
    #[arg(long, env = "DAMSO_CERT", requires = "key", global = true)]
    pub cert: Option<PathBuf>,
    /// Private key of the certificate (PEM).
    #[arg(long, env = "DAMSO_KEY", requires = "cert", global = true)]
    pub key: Option<PathBuf>,
    /// Further host names of the development certificate. Repeatable.
    #[arg(long = "name", env = "DAMSO_NAME", value_delimiter = ',', global = true)]
    pub names: Vec<String>,
    /// Public key (PEM, Ed25519) of whoever issues tokens instead of the built-in issuer.
    #[arg(long, env = "DAMSO_TOKEN_KEY", global = true)]
    pub token_key: Option<PathBuf>,
    /// Whether a valid token of an unknown person makes the person.
    #[arg(long, env = "DAMSO_PROVISION", value_enum, default_value_t = ProvisionArg::Auto, global = true)]
    pub provision: ProvisionArg,
    /// Ask a silent client whether it is there after this many seconds.
    #[arg(long, env = "DAMSO_PROBE_AFTER", default_value_t = 60, global = true)]
    pub probe_after: u64,
    /// Close a connection of which nothing was heard for this many seconds.
    #[arg(long, env = "DAMSO_IDLE_LIMIT", default_value_t = 150, global = true)]
    pub idle_limit: u64,
}

/// A configuration that cannot work.
#[derive(thiserror::Error, Debug)]
#[error("{0}")]
pub struct ConfigError(String);

impl Config {
    /// Checks what single options cannot know of each other.
    ///
    /// # Errors
    /// Names the options and what they must be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |text: &str| Err(ConfigError(text.to_owned()));
        if self.probe_after == 0 || self.idle_limit < self.probe_after * 2 {
            return wrong("--idle-limit must be at least twice --probe-after, which is at least 1");
        }
        if self.listen == self.admin && self.listen.port() != 0 {
            return wrong("--listen and --admin name the same address: give them different ports");
        }
        if self.shards > Shards::MAX {
            return wrong("--shards: at most 32");
        }
        if !self.admin.ip().is_loopback() {
            return wrong(
                "--admin must be a loopback address: the page has no password. \
                 Put a proxy in front of it if others must read it",
            );
        }
        Ok(())
    }

    /// Worker threads.
    pub fn shard_count(&self) -> Shards {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let asked = if self.shards > 0 { usize::from(self.shards) } else { cores };
        let count = u16::try_from(asked).unwrap_or(Shards::MAX).min(Shards::MAX);
        Shards::new(count).unwrap_or(Shards::ONE)
    }

    /// When a silent client is asked, and when it is given up.
    pub(super) fn heartbeat(&self) -> (Duration, Duration) {
        (Duration::from_secs(self.probe_after), Duration::from_secs(self.idle_limit))
    }
}

impl From<ProvisionArg> for Provision {
    fn from(provision: ProvisionArg) -> Self {
        match provision {
            ProvisionArg::Auto => Self::Auto,
            ProvisionArg::Strict => Self::Strict,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn impossible_settings_are_named() {
        for (arguments, names) in [
            (&["damso", "--idle-limit", "60"][..], "--idle-limit"),
            (&["damso", "--admin", "0.0.0.0:9464"], "--admin"),
            (&["damso", "--admin", "127.0.0.1:7443"], "--listen"),
            (&["damso", "--shards", "33"], "--shards"),
        ] {
            let cli = Cli::try_parse_from(arguments).expect("each option alone is fine");
            let error = cli.config.check().expect_err("together they are not").to_string();
            assert!(error.contains(names), "{arguments:?}: {error}");
        }
    }
}
