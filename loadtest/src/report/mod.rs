//! What a run found: as data, for people, and for other programs.

pub mod html;
pub mod model;
