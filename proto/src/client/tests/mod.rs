//! Laws of the replica under random schedules, against a small model of a server.

mod model_server; // what a server does, without disk, rights or time
mod random_schedules; // nothing missed, nothing twice, every send answered once
mod scenarios; // single steps that the random ones may not name
