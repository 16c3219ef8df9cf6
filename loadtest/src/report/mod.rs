//! What a run found: as data, for people, and for other programs.

pub mod files; //   CSV, .hgrm
pub mod html; //    one page with charts
pub mod model; //   the data
mod table; //       several targets side by side
pub mod text; //    for a terminal
pub mod verdict; // what it means
