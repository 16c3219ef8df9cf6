//! Leads a run: targets, workers, phases in turn, and the report.
//!
//! ```text
//! options + scenario -> sides (a target and its workers each) -> connect, set up
//!    -> warm-up -> phases, side by side in turn, repeated -> read back, judge -> report
//! ```

mod compare; //  several targets, in turn
mod crew; //     worker processes
mod error; //    why there is no report
mod fill; //     a store to measure on
mod gather; //   seconds become distributions
mod live; //     progress
mod log; //      distributions of each second, as a log
mod options; //  the command line
mod preflight; // what a run needs of the machine
mod rest; //     a server that has nothing to do
mod run; //      a scenario from beginning to end
mod samples; //  readings of server and machine while a phase runs
mod saturate; // the highest load that holds
mod side; //     one target with its workers
mod sockets; //  what the kernel holds for a server's sockets
mod stall; //    what a server holds for those who do not read
mod stop; //     a server ends, and starts again
mod target; //   what a run goes against
mod throttle; //  a server that may run for a share of the time
mod watch; //    the server's CPU time and memory

pub use compare::{CompareOptions, Peer, compare};
pub use error::RunError;
pub use fill::{FillOptions, fill};
pub use options::Options;
pub use run::run;
pub use saturate::{SaturateOptions, saturate};
