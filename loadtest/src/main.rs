//! `damso-loadtest`.

fn main() {}
