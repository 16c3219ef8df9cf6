//! Pure rules of the product: no I/O, no tokio; time is an argument.

pub mod event; //   an event encoded once, for the wire and the disk
pub mod rights; //  kinds, roles, and the one function that says who may do what
