//! Laws of this room, kept over stores in memory and a clock that stands.

mod arrivals; // connections that come while channels change
mod deadline; // what comes too late
mod doors; //    blocking work that cannot be had, or fails
pub(crate) mod kit; // a shard to give work to
mod overload; // more than can be done
mod rates; //    more than a channel takes
mod repeats; //  commands with nothing to change
mod replies; //  what a message may answer
mod service; // messages of the service
mod silence; //  changes of which no event tells
