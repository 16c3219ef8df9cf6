//! One thread, one epoll, tens of thousands of TLS connections: no task, no queue per connection.
//!
//! ```text
//! poll     epoll and one timer that wakes at the next intended time
//! tls      socket + rustls' unbuffered machine + what is left over; scratch is shared
//! target   where to, whom to trust, and tokens for the people of a run
//! payload  what a message carries, so that its receiver can tell when it was meant to be sent
//! ```

pub mod payload;
pub mod poll;
pub mod target;
pub mod tls;
