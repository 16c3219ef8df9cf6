//! The laws of every directory, kept by each engine.

mod groups; // people, direct channels and groups; keys, outbox, pages
mod roles; //  roles, broadcasts, and the backend
mod world; //  a directory with people
