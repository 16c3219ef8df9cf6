//! Pure rules of the product: no I/O, no tokio; time is an argument.

mod admin_limits; // those of the admin port
mod api_limits; //  those of the HTTP API
pub mod body; //    the hash that tells a repetition from another request
pub mod budget; //  a rate for whoever asks, and a turn for what is too much
pub mod deadline; // until when a request is worth starting
pub mod device; //  what an installation calls itself
pub mod draft; //   what a person asks for, checked
pub mod event; //   an event encoded once, for the wire and the disk
mod host_limits; // those towards the machine
pub mod limits; //  every limit of the server, with its unit
pub mod memory; //  how short of it a server is, and what it does without then
mod memory_limits; // shares of its budget, and what they mean
pub mod naming; //  a backend's names for channels, and its notes
pub mod rate; //    how often, in eight bytes
pub mod rights; //  kinds, roles, and the one function that says who may do what
pub mod scope; //   what a backend's key is good for
pub mod system; //  what the server itself tells
pub mod update; //  what is to be different about a channel, checked
