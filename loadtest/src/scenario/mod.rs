//! What is to be run: people, channels, traffic, phases.

pub mod layout;
