//! Laws of the whole server, told by behaviour: real processes, real sockets, real TLS.

mod away; //    who was away gets exactly what they missed, in one round trip
mod raw; //     a client made of nothing but a TLS socket and frames
mod server; //  a server to test
