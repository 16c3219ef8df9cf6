//! Laws of the whole server, told by behaviour and by its source.

mod layers; //  who may import whom
mod source; //  Rust source as far as imports go
