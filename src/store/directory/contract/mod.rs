//! The laws of every directory, kept by each engine.

mod blocks; //  who blocks whom, and what that forbids
mod devices; // who may come in: devices, and tokens that count no more
mod groups; // people, direct channels and groups; keys, outbox, pages
mod roles; //  roles, broadcasts, and the backend
mod updates; // what a channel is called, and what is noted on it
mod world; //  a directory with people
