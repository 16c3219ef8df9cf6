//! Other servers, started beside the harness so that one engine measures them all alike.
//!
//! ```text
//! certificates  a CA for one run, and a certificate under it
//! mosquitto     an MQTT broker
//! error         why a peer does not start
//! ```
//!
//! A peer runs on a loopback address with what it needs in a temporary directory, and is killed
//! when its value is dropped.

mod certificates;
mod error;
mod mosquitto;

pub use certificates::NAME;
pub use error::PeerError;
pub use mosquitto::Mosquitto;
