//! MQTT 3.1.1, as much of it as a client of QoS 0 and 1 needs.
//!
//! ```text
//! codec   packets <-> bytes, borrowed from the input; no I/O, every length bounded
//! reader  a stream cut anywhere -> whole packets
//! topic   channel number <-> topic
//! talk    what is kept of one connection: packet ids in flight, keep-alive
//! driver  the rest: log-in, subscriptions, messages
//! ```
//!
//! Our own on purpose: a library brings a task and queues for each client, and their cost would be
//! charged to the server under test. Section numbers are those of the OASIS standard 3.1.1.

mod codec;
mod driver;
mod reader;
mod talk;
mod topic;

#[cfg(test)]
mod tests;

pub use codec::Qos;
pub use driver::Mqtt;
pub use talk::Talk;
