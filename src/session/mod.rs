//! One authenticated device on one connection.

pub mod token; // who is it: tokens, checked and issued
