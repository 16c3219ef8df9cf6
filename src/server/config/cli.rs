//! The command line.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};

use super::flags::Flags;
use super::mistake::Mistakes;
use super::read::read;
use super::settings::Config;

/// A chat server: durable, ordered, fast.
///
/// Without a command it serves, with embedded stores in ./damso-data and a development
/// certificate of its own. It prints what two people need to chat.
#[derive(Parser, Debug)]
#[command(
    name = "damso",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  damso                                       serve on 127.0.0.1:7443\n  damso --listen 0.0.0.0:7443 --name chat.example.org\n  damso token --user alice                    a connection string for alice\n  damso config default > damso.toml           every setting, explained\n  damso --config damso.toml\n\nA flag goes before the environment, the environment before the file."
)]
pub struct Cli {
    /// What to do; nothing = serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings of the server.
    #[command(flatten)]
    pub flags: Flags,
}

impl Cli {
    /// The configuration that flags, this environment and the file make together.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn config(
        &self,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Config, Mistakes> {
        let serves = matches!(self.command, None | Some(Command::Serve));
        read(&self.flags, environment, serves)
    }
}

/// What else the binary does.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Serve (the default).
    Serve,
    /// Print a connection string for a person, signed by the built-in issuer.
    Token(TokenArgs),
    /// Say how a running server is: exit 0 if it takes connections and messages, else 1.
    Status(StatusArgs),
    /// List who is connected to a running server.
    Connections(ConnectionsArgs),
    /// End connections at a running server; their clients may come back.
    Kick(KickArgs),
    /// End a running server: clients are told when to come back, and where.
    Drain(DrainArgs),
    /// Make a person's tokens so far, or one device of theirs, count no more at a running server.
    Revoke(RevokeArgs),
    /// Make, list or revoke keys of backends for the HTTP API. Works whether a server runs or not.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Print, check or explain the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Measure this machine, and say what to expect of a server on it.
    Doctor(DoctorArgs),
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

/// Options of `damso status`. The server is found where the configuration has its admin port, and
/// asked with the password that it names.
#[derive(Args, Clone, Copy, Debug)]
pub struct StatusArgs {
    /// For programs.
    #[arg(long)]
    pub json: bool,
}

/// Options of `damso connections`.
#[derive(Args, Clone, Debug)]
pub struct ConnectionsArgs {
    /// Of this person alone.
    #[arg(long)]
    pub user: Option<String>,
    /// So many at most.
    #[arg(long, default_value_t = 100)]
    pub max: usize,
    /// For programs: one connection a line.
    #[arg(long)]
    pub json: bool,
}

/// Options of `damso kick`.
#[derive(Args, Clone, Debug)]
pub struct KickArgs {
    /// All connections of this person. To keep them out, revoke them.
    #[arg(long, required_unless_present = "connection", conflicts_with = "connection")]
    pub user: Option<String>,
    /// Of theirs, only this device's.
    #[arg(long, requires = "user")]
    pub device: Option<String>,
    /// This connection, as `damso connections` calls it.
    #[arg(long)]
    pub connection: Option<String>,
    /// Clients stay away for so many seconds, and up to twice that.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub after: u64,
}

/// Options of `damso drain`.
#[derive(Args, Clone, Debug)]
pub struct DrainArgs {
    /// Clients come back within so many seconds, each at a time of its own; without it, within
    /// server.drain_spread.
    #[arg(long, value_name = "SECONDS")]
    pub within: Option<u64>,
    /// Clients go here meanwhile; may be repeated. Without it, to server.alternates.
    #[arg(long, value_name = "HOST:PORT")]
    pub to: Vec<String>,
}

/// Options of `damso revoke`. The server is found where the configuration has its admin page.
#[derive(Args, Clone, Debug)]
pub struct RevokeArgs {
    /// The person's uid. Without --device every token issued until now is revoked.
    #[arg(long)]
    pub user: String,
    /// Only this device: the name that the app chose for its installation.
    #[arg(long)]
    pub device: Option<String>,
}

/// What is done with keys of backends.
#[derive(Subcommand, Clone, Debug)]
pub enum KeyCommand {
    /// Make a key and print it: it is shown this once.
    Create {
        /// What you call it: the backend that will use it.
        name: String,
        /// What it is good for: users, channels, messages, read, stats, or all. May be repeated.
        #[arg(long, required = true, num_args = 1.., value_delimiter = ',')]
        scope: Vec<String>,
    },
    /// List keys: id, state, scopes, name.
    List,
    /// Revoke a key; what is asked with it from now on is refused.
    Revoke {
        /// Its id.
        id: u64,
    },
}

/// Options of `damso doctor`.
#[derive(Args, Clone, Copy, Debug)]
pub struct DoctorArgs {
    /// Look at this machine: disk, clock, cores, memory, descriptors. Takes a few seconds.
    #[arg(long, required = true)]
    pub host: bool,
    /// For programs.
    #[arg(long)]
    pub json: bool,
}

/// What is done with a configuration.
#[derive(Subcommand, Clone, Debug)]
pub enum ConfigCommand {
    /// Print every setting with its default and what it does, as a file to begin with.
    Default,
    /// Look for mistakes without starting: exit 0 if there are none, else 1.
    Check {
        /// The file; without it, what --config, environment and flags say.
        file: Option<OsString>,
        /// A server runs with it already: do not ask whether its ports are free.
        #[arg(long)]
        no_ports: bool,
    },
    /// Print what is in force, and where each value came from.
    Show,
}
