//! One thread, one epoll, tens of thousands of connections: no task, no queue per connection.
//!
//! ```text
//! poll     epoll and one timer that wakes at the next intended time
//! socket   connects without waiting, from an address of one's choice
//! pipe     socket, TLS or none, and what is left over; scratch is shared
//! tls      rustls' unbuffered machine
//! target   where to, whom to trust, and tokens for the people of a run
//! payload  what a message carries, so that its receiver can tell when it was meant to be sent
//! ```

pub mod payload;
pub mod pipe;
pub mod poll;
pub mod socket;
pub mod target;
pub mod tls;
