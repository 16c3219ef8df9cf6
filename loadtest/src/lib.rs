//! History checker and load harness of damso.

pub mod bare;
pub mod checker;
pub mod controller;
pub mod driver;
pub mod engine;
pub mod figures;
pub mod host;
pub mod peers;
pub mod report;
pub mod scenario;
pub mod schedule;
pub mod serve;
pub mod slo;
pub mod worker;
