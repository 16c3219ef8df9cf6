//! What is on disk: channel logs and the directory.

pub mod directory; //  people, channels, and who is in them
pub mod faulty; //     any engine with bad luck, for tests of those who append
pub mod fjall; //      history on disk
pub mod forgetful; // any engine without its memory of keys, for tests of the checker
pub mod log; //        the seam of history: what every engine does
pub mod memory; //     history in memory, for simulation and tests

#[cfg(test)]
mod contract; //       what every engine must do, as tests
