//! What a run found: as data, for people, and for other programs.

pub mod files; //   CSV, .hgrm
pub mod html; //    one page with charts
pub mod model; //   the data
pub mod text; //    for a terminal
pub mod verdict; // what it means
