//! Laws of the protocol, told by behaviour.

mod descriptors;
mod pair_server;
mod samples;
mod vector_file;

mod any_bytes;
mod generated;
mod hostile;
mod pair;
mod readme;
mod server;
mod vectors;
