//! The composition root: configuration, wiring, start, drain. Imported by `main.rs`
//! and by tests alone.

mod admin_port; // a running server's admin port, from outside
mod build; //   rooms put together, from the ground up
mod config; //  file, environment and flags, checked whole before anything binds
mod descriptors; // how many there are, and for whom
mod doctor; //  what this machine is, and what to expect of it
mod greeting; // what a newcomer reads after the start
mod identity; //  who issues tokens, and the server's certificate
mod key_server; // fetches keys of issuers
mod keys; //    keys of backends
mod memory; //  how short of it the server is
mod operate; // what an operator has a running server do
mod ready; //   how it is
mod reload; //  the certificate follows its files
mod running; // a server that serves, and how it ends
mod shards; //  one thread per shard
mod told; //    what an operator is told, as text
mod web; //     the API's thread, and the admin port's

pub use admin_port::OperateError;
pub use build::StartError;
pub use config::{
    Cli, Command, Config, ConfigCommand, ConnectionsArgs, DoctorArgs, DrainArgs, Flags, KeyCommand,
    KickArgs, Mistake, Mistakes, Origin, Origins, RevokeArgs, StatusArgs, TokenArgs, Told,
    annotated, check, effective,
};
pub use doctor::{DoctorError, doctor};
pub use greeting::token;
pub use keys::{KeysError, keys};
pub use operate::{connections, drain, kick, revoke, status};
pub use running::{Asked, Server, Signals, log_to_stderr};
