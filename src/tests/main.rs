//! Laws of the whole server, told by behaviour and by its source: real processes, real
//! sockets, real TLS.

mod api; //     what a backend asks by HTTP
mod api_moderation; // what a backend asks to keep order
mod arrive; // who comes while their channels change
mod away; //    who was away gets exactly what they missed, in one round trip
mod backend; // a backend to ask by HTTP
mod blocks; //  people who block each other
mod broadcast; // a few write, any number read
mod certificates; // another certificate, without a restart
mod config; //  mistakes in the configuration, and what its limits do
mod crash; //   nothing is lost when the process is killed
mod crash_backend; // a backend whose requests stand, whatever ends the server
mod crash_fleet; // people who chat on, whatever happens to the server
mod crash_history; // what stands in the end
mod crash_members; // who is let in and put out, whatever ends the server
mod crash_power; // nothing is lost at a power cut
mod crash_process; // a server to be killed
mod crash_world; // what everybody saw
mod crowded; // as many connections as there may be
mod deadline; // what is not worth starting any more
mod devices; // a device is known by its proof, and a stolen token is not enough
mod doctor; //  what the binary says of a machine
mod farewell; // the last frame is always read
mod hostile; // frames that a client may not send
mod keys; //   whose tokens count, and how keys come from their issuer
mod layers; //  who may import whom
mod lifecycle; // the binary from its start to its end
mod memory; //  short of memory, and taken up again
mod moderation; // who is muted or kept out
mod operate; // what an operator has a running server say and do
mod overload; // ten times more than can be done
mod people; //  who is who, who talks to whom
mod process; // a server to test as a process of its own
mod proxies; // whose connection it is that a proxy makes
mod rates; //   who asks too often, and whom that does not concern
mod raw; //     a client made of nothing but a TLS socket and frames
mod readme; // the landing page in both its languages
mod renewal; // tokens that end under a live connection, and go on
mod resume; // one flight up, and everything that was missed comes down
mod revoke; // who may read, while messages flow
mod secrets; // what stands in no log
mod sent_away; // tokens and devices that count no more, while messages flow
mod server; //  a server to test
mod sim; //     the server under a paused clock and a failing network, from one seed
mod source; //  Rust source as far as imports go
mod strangers; // whoever is not logged in, and never will be
mod trespass; // requests about what is not one's own, or not as it must be
mod updates; // what a channel is called, and what is noted on it
