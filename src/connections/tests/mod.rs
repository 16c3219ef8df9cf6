//! Laws of this room, kept over real TLS and sockets in memory.

mod fairness; // nobody waits for anybody else
pub(crate) mod kit; // a client to look through
mod lanes; //    answers, chunks, last words
mod run; //      one contiguous run for every reader, whatever the sockets do
mod tls; //      what a peer may do to a wire
