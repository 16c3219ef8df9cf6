//! A connection on its way from the shard that accepted it to its person's home shard.
//!
//! The socket leaves one epoll and joins another; ciphertext and plaintext that were
//! read already travel along. What may have changed on the way (rights, revocations, the
//! person's number of connections) is checked at home, after arrival.
//!
//! Whoever was admitted before a revocation was counted is looked at again, here: a revocation
//! that is counted later finds the session, since its mail comes to this shard, too.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::admit;
use super::pump::pump;
use crate::connections::{DetachedWire, Wire};
use crate::model::limits;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::placement::{self, Shards};
use crate::runtime::route::ShardNo;
use crate::session::{self, Guest, Shard};
use crate::store::directory::Provision;

/// A guest and their pipe, between two shards.
pub struct Handover {
    wire: DetachedWire,
    guest: Guest,
}

/// Every shard's mailbox for connections that come home, in order of shard number.
#[derive(Clone)]
pub struct Handovers {
    all: Arc<[Arc<Mailbox<Handover>>]>,
    shards: Shards,
}

impl Handovers {
    /// One mailbox per shard.
    pub fn new(shards: Shards) -> Self {
        let mailbox = |_| Arc::new(Mailbox::new(limits::HANDOVERS_MAX));
        Self { all: shards.all().map(mailbox).collect(), shards }
    }

    /// The mailbox of one shard.
    pub fn of(&self, shard: ShardNo) -> Option<&Arc<Mailbox<Handover>>> {
        self.all.get(shard.index())
    }
}

/// Brings a guest home: at once if this is it, else by mail.
pub(super) fn send(shard: &Rc<Shard>, handovers: &Handovers, wire: Wire, guest: Guest) {
    let home = placement::home(guest.user, handovers.shards);
    if home == shard.number() {
        return settle(shard, wire, guest);
    }
    let Some(mailbox) = handovers.of(home) else { return };
    match wire.detach() {
        Ok(wire) => {
            if mailbox.post(Handover { wire, guest }).is_err() {
                // The client sees its connection end, and comes back after a while.
                metrics::counter!("damso_handovers_dropped_total").increment(1);
            }
        }
        Err(error) => tracing::warn!(%error, "a connection cannot leave its shard"),
    }
}

/// Takes in the connections that come home to this shard, for ever.
pub async fn receive(shard: Rc<Shard>, mailbox: Arc<Mailbox<Handover>>) {
    let mut arrived = Vec::new();
    loop {
        mailbox.arrived().await;
        mailbox.take(&mut arrived);
        for Handover { wire, guest } in arrived.drain(..) {
            match wire.attach() {
                Ok(wire) => settle(&shard, wire, guest),
                Err(error) => tracing::warn!(%error, "a connection cannot join its home shard"),
            }
        }
    }
}

/// Seats a guest, unless something was revoked since they were admitted: then they are looked
/// at again.
fn settle(shard: &Rc<Shard>, wire: Wire, guest: Guest) {
    if shard.floors().directory.revocations() == guest.revocations {
        return seat(shard, wire, guest);
    }
    metrics::counter!("damso_logins_looked_at_again_total").increment(1);
    tokio::task::spawn_local(look_again(shard.clone(), wire, guest));
}

async fn look_again(shard: Rc<Shard>, wire: Wire, mut guest: Guest) {
    let again = async {
        for _ in 0..limits::LOGIN_LOOKS_MAX {
            let directory = &shard.floors().directory;
            guest.revocations = directory.revocations();
            // They are known by now, or were made a moment ago.
            let admission = admit::ask(&shard, &guest.login, Provision::Strict).await?;
            (_, guest.is_told) = session::admitted(admission)?;
            if directory.revocations() == guest.revocations {
                return Ok(());
            }
        }
        Err(admit::BUSY)
    };
    let patience = shard.floors().limits.login_time;
    match tokio::time::timeout(patience, again).await.unwrap_or(Err(admit::BUSY)) {
        // Nothing was awaited since the number was compared.
        Ok(()) => seat(&shard, wire, guest),
        Err(refused) => admit::farewell(wire, &RefCell::default(), &refused).await,
    }
}

fn seat(shard: &Rc<Shard>, wire: Wire, guest: Guest) {
    let id = shard.adopt(wire, guest);
    let pump = tokio::task::spawn_local(pump(shard.clone(), id));
    shard.seat(id, pump.abort_handle());
}
