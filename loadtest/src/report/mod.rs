//! What a run found: as data, for people, and for other programs.

pub mod files; //   CSV, .hgrm
pub mod html; //    one page with charts
pub mod model; //   the data
pub mod overload; // what came of more than the server can do
mod saturation; //  the highest load that held
pub mod stalled; // what those who do not read cost
pub mod stress; //  what a server was put through, and what stayed behind
mod stress_text; // that, for a terminal
mod table; //       several targets side by side
pub mod text; //    for a terminal
pub mod verdict; // what it means
