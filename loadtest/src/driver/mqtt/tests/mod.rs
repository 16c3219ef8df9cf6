//! The codec against the standard and against chance; the driver against a broker made of it.

mod broker; // a broker without sockets
mod conversation;
mod packets;
