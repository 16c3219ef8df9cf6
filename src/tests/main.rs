//! Laws of the whole server, told by behaviour and by its source: real processes, real
//! sockets, real TLS.

mod away; //    who was away gets exactly what they missed, in one round trip
mod hostile; // frames that a client may not send
mod layers; //  who may import whom
mod raw; //     a client made of nothing but a TLS socket and frames
mod server; //  a server to test
mod source; //  Rust source as far as imports go
