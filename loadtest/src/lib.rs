//! History checker and load harness of damso.

pub mod checker;
pub mod engine;
pub mod figures;
pub mod host;
pub mod schedule;
