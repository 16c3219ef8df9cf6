//! From the first byte to Hello's answer. The task owns everything by value until it
//! is handed over, and takes exactly one frame from the plaintext.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use damso_proto::code::CloseCode;
use damso_proto::id::UserNo;
use damso_proto::server::{Said, ServerConn};
use damso_proto::wire;

use super::admit;
use super::handover::{self, Handovers};
use super::tls::ALPN;
use crate::connections::{Interest, Received, Scratch, Socket, Wire, WireError};
use crate::session::token::Verifier;
use crate::session::{self, Claimed, Guest, Proofs, Refused, Shard};
use crate::store::directory::{Directory, Provision};

/// What every login on a shard needs.
#[derive(Clone)]
pub struct Entrance {
    /// The shard that accepts.
    pub shard: Rc<Shard>,
    /// Where guests go whose home is elsewhere.
    pub handovers: Handovers,
    /// The server's side of TLS.
    pub tls: Arc<rustls::ServerConfig>,
    /// Who may come in.
    pub door: Door,
    /// Buffers that all logins take turns in: borrowed for one read or write, never across a wait.
    pub scratch: Rc<RefCell<Scratch>>,
}

/// Who may come in.
#[derive(Clone)]
pub struct Door {
    /// Checks tokens.
    pub verifier: Arc<Verifier>,
    /// Makes what devices prove themselves with.
    pub proofs: Arc<Proofs>,
    /// Knows people.
    pub directory: Arc<dyn Directory>,
    /// Whether a valid token of an unknown person makes the person.
    pub provision: Provision,
}

/// Why a connection ends before it has a session.
enum Ended {
    /// It never spoke this protocol, or went away: nothing can be told.
    Silent(&'static str),
    /// It is told why.
    Told(Refused),
}

/// Takes one accepted connection as far as it comes. Bounded in time and memory. Returns whether
/// the handshake came to its end, as this protocol's.
pub async fn enter(entrance: Entrance, socket: Box<dyn Socket>, address: Option<IpAddr>) -> bool {
    let Ok(wire) = Wire::accept(socket, entrance.tls.clone()) else { return false };
    let now = entrance.shard.floors().clock.now();
    let conn = ServerConn::new(entrance.shard.conn_options(), now);
    let scratch = entrance.scratch.clone();
    let mut coming = Coming { wire, conn, plain: Vec::new(), scratch, shaken: false };
    let patience = entrance.shard.floors().limits.login_time;
    let done = tokio::time::timeout(patience, coming.log_in(&entrance)).await;
    let refused = match done {
        Ok(Ok(guest)) => {
            let Coming { wire, conn, plain, .. } = coming;
            let Known { user, is_told, claimed, revocations } = guest;
            let Claimed { login, proof, token_expires_ms } = claimed;
            let guest = Guest {
                user,
                login,
                address,
                revocations,
                proof,
                is_told,
                token_expires_ms,
                conn,
                left: plain,
            };
            handover::send(&entrance.shard, &entrance.handovers, wire, guest);
            return true;
        }
        Ok(Err(Ended::Silent(reason))) => {
            admit::count(reason);
            return coming.shaken;
        }
        Ok(Err(Ended::Told(refused))) => refused,
        Err(_) => Refused { code: CloseCode::LoginLate, text: "no login in time" },
    };
    admit::farewell(coming.wire, &coming.scratch, &refused).await;
    coming.shaken
}

/// Somebody who may come in.
struct Known {
    user: UserNo,
    is_told: bool,
    claimed: Claimed,
    /// As counted before the directory was asked.
    revocations: u64,
}

struct Coming {
    wire: Wire,
    conn: ServerConn,
    plain: Vec<u8>,
    scratch: Rc<RefCell<Scratch>>,
    /// The handshake came to its end.
    shaken: bool,
}

impl Coming {
    async fn log_in(&mut self, entrance: &Entrance) -> Result<Known, Ended> {
        let patience = entrance.shard.floors().limits.handshake_time;
        tokio::time::timeout(patience, self.shake_hands(&entrance.shard))
            .await
            .map_err(|_| Ended::Silent("tls_late"))??;
        let hello = self.hello(entrance).await?;
        admit::room(&entrance.shard).map_err(Ended::Told)?;
        let (door, clock) = (&entrance.door, &*entrance.shard.floors().clock);
        // The token's signature is as much work as half a handshake.
        entrance.shard.admit_step().await;
        let checked = session::check(&hello, (&door.verifier, &door.proofs), clock);
        let claimed = checked.await.map_err(Ended::Told)?;
        let revocations = door.directory.revocations();
        let admission = admit::ask(&entrance.shard, &claimed.login, door.provision).await;
        let (user, is_told) = admission.and_then(session::admitted).map_err(Ended::Told)?;
        Ok(Known { user, is_told, claimed, revocations })
    }

    async fn shake_hands(&mut self, shard: &Shard) -> Result<(), Ended> {
        while !self.wire.handshaken() {
            self.readable().await?;
            shard.admit_step().await;
            self.read()?;
        }
        if self.wire.alpn() == Some(ALPN) {
            self.shaken = true;
            Ok(())
        } else {
            Err(Ended::Silent("alpn"))
        }
    }

    async fn hello(&mut self, entrance: &Entrance) -> Result<wire::Hello, Ended> {
        loop {
            let now = entrance.shard.floors().clock.now();
            let mut unread = self.plain.as_slice();
            let said = self.conn.next(&mut unread, now);
            let left = unread.len();
            self.plain.drain(..self.plain.len() - left);
            match said {
                Ok(Some(Said::Hello(hello))) => return Ok(*hello),
                Ok(Some(Said::KeepAlive)) => {}
                Ok(Some(_)) => {
                    let text = "Hello comes first";
                    return Err(Ended::Told(Refused { code: CloseCode::Malformed, text }));
                }
                Ok(None) => self.more().await?,
                Err(fault) => {
                    let code = fault.close_code();
                    return Err(Ended::Told(Refused { code, text: "not a Hello" }));
                }
            }
        }
    }

    /// Waits for bytes and takes what is there.
    async fn more(&mut self) -> Result<(), Ended> {
        self.readable().await?;
        self.read()
    }

    async fn readable(&self) -> Result<(), Ended> {
        let ready = poll_fn(|context| self.wire.poll_ready(context, Interest::Read)).await;
        ready.map_err(|_| Ended::Silent("gone"))
    }

    fn read(&mut self) -> Result<(), Ended> {
        match self.wire.receive(&mut self.scratch.borrow_mut(), &mut self.plain) {
            Ok(Received::Some | Received::Blocked) => Ok(()),
            Ok(Received::End) => Err(Ended::Silent("gone")),
            Err(WireError::Io(_)) => Err(Ended::Silent("gone")),
            Err(_) => Err(Ended::Silent("tls")),
        }
    }
}
