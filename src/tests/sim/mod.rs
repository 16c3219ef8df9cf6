//! The whole server under a clock that stands still and a network that fails, from one seed.
//!
//! ```text
//! clients: the real SDK -> TLS -> lines in memory -> transport, session, requests, delivery: the real
//!                                   |                two shards
//!                   Network: cut at a byte, held,      |                    |
//!                   refused                      MemoryLog, committed    SQLite in memory, behind
//!                                                by a task, perhaps      a stepped door
//!                                                behind a FaultyLog
//! ```
//!
//! One thread runs everything, and tokio's paused clock leaps whenever nobody can go on. Every
//! choice (how long work takes, which of several jobs comes first, who is cut when) is drawn from
//! the seed, so a failure is repeated by it: the panic names it, `DAMSO_SIM_SEED` takes it.
//! `DAMSO_SIM_ROUNDS` asks for more seeds than the few that every test run tries, and
//! `DAMSO_SIM_TELL` has everything told that anybody sees, with its time.

mod blocks; //    two people block each other while messages flow
mod chaos; //     everything at once
mod clock; //     the time, as the paused runtime has it
mod crashes; //   the process ends between gathering, commit and acknowledgement
mod crowd; //     people who chat
mod device; //    a person's device with the SDK on it
mod dice; //      every choice that is made
mod ear; //       a device that hears frames, not what an SDK makes of them
mod harm; //      what befalls a device, and what a dying process leaves
mod names; //     those who lead a channel name it while everything suffers
mod network; //   lines between devices and the server, and what happens to them
mod resumes; //   devices come back while events arrive
mod revokes; //   people are removed while messages flow
mod send_steps; // the connection is lost at each byte and at each moment of a send
mod server; //    a server of two shards that can be killed
mod story; //     a seed played from its beginning to the verdict
mod unlucky; //   a store whose outcomes are conflicts and unknowns
mod watch; //     what everybody saw
