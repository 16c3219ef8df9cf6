//! Listeners, TLS and login.

pub mod certificate; // the server's side of TLS, and the pin that clients know it by
