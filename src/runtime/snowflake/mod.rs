//! Message ids: unique everywhere, rising, made without a lock and without waiting.
//!
//! ```text
//! id    | 0 | milliseconds since 2026-01-01 UTC, 41 | machine, 10 | sequence, 12 |
//! slot             | milliseconds, 41                             | sequence, 12 |   what the atomic holds
//! ```
//!
//! A slot is an id without its machine, so that "next" is `+ 1` and a sequence that is
//! used up borrows from the next millisecond. The clock only ever pushes the slot
//! forward: a clock that goes back is held until it has caught up.

mod generator; // who mints: machine, slots and clock together
mod leap; //      which time of day to believe
mod slots; //     the atomic

#[cfg(test)]
mod tests;

pub use generator::{Machine, Snowflake};
