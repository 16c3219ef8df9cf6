//! Laws of the protocol, told by behaviour.

mod descriptors;
mod samples;
mod vector_file;

mod any_bytes;
mod generated;
mod hostile;
mod readme;
mod server;
mod vectors;
