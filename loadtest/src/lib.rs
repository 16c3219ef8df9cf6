//! History checker and load harness of damso.

pub mod checker;
