//! From a listening socket to an authenticated pipe on its home shard.
//!
//! ```text
//! listener (one per shard, SO_REUSEPORT)
//!    | accept -> pool of guests (bounded; a full pool drops its oldest)
//!    | from a trusted proxy: a PROXY header says whose connection it is
//!    v
//! login: TLS handshake, ALPN, Hello, token, number ----- home is here -----> adopt, pump
//!    |                                                                          ^
//!    +-- home is elsewhere: leave this epoll, travel by mail, join that one ----+
//! ```

mod admit; //      whether somebody may come in, and what they are told if not
pub mod certificate; // a certificate with its key: given files, or a development CA
mod guests; //     connections that are not logged in yet
mod handover; //   a connection on its way to its home shard
mod listener; //   the accept loop
mod login; //      from the first byte to Hello's answer
mod proxy; //     for whom a trusted proxy connects
mod pump; //       the reading task of a session
mod renewal; //    a certificate that follows its files
mod tls; //        one configuration for all shards, whose certificate can be replaced
mod validity; //   from when to when a certificate is good
mod web; //        the API's listener, beside all that

pub use handover::{Handover, Handovers, receive};
pub use listener::{BindError, accept, bind, probe};
pub use login::{Door, Entrance, enter};
pub use proxy::Proxies;
pub use renewal::{Outcome, Renewal};
pub use tls::{ALPN, Tls};
pub use validity::{Standing, Validity};
pub use web::{Web, serve_web};
