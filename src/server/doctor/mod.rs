//! `damso doctor --host`: what this machine is, measured, and what to expect of a server on it.
//!
//! ```text
//! disk   fdatasync, as the committer does it -+
//! host   cores, memory, descriptors          -+-> Measured -> expect -> Expected -> report
//! clock  steps and drift                     -+      figures of the load harness
//! ```

mod clock; //  whether the time of day can be trusted
mod disk; //   how long the disk takes to make 4 KiB durable
mod examine; // all of it, in a few seconds
mod expect; // from figures measured elsewhere to what fits here
mod host; //   what the operating system says
mod measured; // the figures
mod report; // for people, and for programs
mod warn; //   what to mend before people depend on it

pub use examine::{DoctorError, doctor};
