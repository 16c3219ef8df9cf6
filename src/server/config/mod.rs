//! How a server is to be: file, environment and flags, checked whole before anything binds or
//! is written.
//!
//! ```text
//! table  one row per setting: section, key, flag, variable, what it does, where it stands
//!   |        cli      flags and help  -- made from it
//!   |        default  annotated file  -- made from it
//!   v
//! default < file < environment < flag  -> Config, and where each value came from
//!                                      -> relations: what must hold between two values
//!                                      -> machine: files, directory, ports
//!                                      -> Mistakes: all of them, each with its line and what to do
//! ```

mod budget; //    how much memory a server may take
mod check; //     everything that can be known without starting
mod cli; //       the command line
mod default; //   the whole configuration, annotated; and as it is now, with where it came from
mod file; //      a TOML file against the table
mod flags; //     the flags of settings
mod machine; //   what a value needs of this machine: files, the directory, ports
mod mistake; //   what is wrong, where, and what to do
mod origin; //    where a value came from
mod place; //     a value in its place: read, bounded, shown
mod read; //      put together by precedence
mod reading; //   what has been read so far, and what was wrong with it
mod relations; // what must hold between two values
mod settings; //  the values
mod table; //     every setting
mod unit; //      durations, sizes and rates as people write them

#[cfg(test)]
mod tests;

pub(super) use budget::Budget;
pub use check::{Told, check};
pub use cli::{
    Cli, Command, ConfigCommand, ConnectionsArgs, DoctorArgs, DrainArgs, KeyCommand, KickArgs,
    RevokeArgs, StatusArgs, TokenArgs,
};
pub use default::{annotated, effective};
pub use flags::Flags;
pub(super) use machine::{admin_token, no_data, not_admin, not_api, not_chat};
pub use mistake::{Mistake, Mistakes};
pub use origin::{Origin, Origins};
pub use settings::Config;
