//! What is on disk: channel logs and the directory.

pub mod log; //        the seam of history: what every engine does
