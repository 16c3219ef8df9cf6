//! Laws of the protocol, told by behaviour.

mod generated;
