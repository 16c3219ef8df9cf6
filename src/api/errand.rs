//! From the API's thread to a shard and back: what is to be done travels by mail, is done there as a
//! task beside those of sessions, and is answered once.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use damso_proto::id::{ChannelNo, RequestId};

use crate::model::body::BodyHash;
use crate::model::limits;
use crate::requests::Floors;
use crate::runtime::mailbox::Mailbox;
use crate::runtime::placement::{self, Shards};
use crate::runtime::route::{ConnectionId, Route, ShardNo};

/// Work on a shard; it need not leave that thread.
pub(super) type Task<'a, R> = Pin<Box<dyn Future<Output = R> + 'a>>;

/// What is to be done with a shard's floors. The route is the errand's own.
pub(super) type Errand = Box<dyn for<'a> FnOnce(&'a Floors, Route) -> Task<'a, ()> + Send>;

/// Where outcomes for errands go: no connection has this place.
const NOWHERE: ConnectionId = ConnectionId { slot: u32::MAX, generation: u32::MAX };

/// Every shard's mailbox for errands, in order of shard number.
#[derive(Clone)]
pub struct Errands {
    all: Arc<[Arc<Mailbox<Errand>>]>,
    shards: Shards,
}

impl Errands {
    /// One mailbox per shard.
    pub fn new(shards: Shards) -> Self {
        let mailbox = |_| Arc::new(Mailbox::new(limits::API_REQUESTS_MAX));
        Self { all: shards.all().map(mailbox).collect(), shards }
    }

    /// Every shard.
    pub(super) fn shards(&self) -> impl Iterator<Item = ShardNo> + use<> {
        self.shards.all()
    }

    /// The shard for what concerns `name`: always the same one.
    pub(super) fn shard_of(&self, name: &str) -> ShardNo {
        let BodyHash(hash) = BodyHash::of("errand", &[name.as_bytes()]);
        placement::owner(ChannelNo::new(hash), self.shards)
    }

    /// Sends an errand. `false`: the shard is behind, and it was not taken.
    pub(super) fn send(&self, shard: ShardNo, errand: Errand) -> bool {
        self.all.get(shard.index()).is_some_and(|mailbox| mailbox.post(errand).is_ok())
    }
}

/// Runs the errands of one shard there, for ever.
pub async fn receive<S: AsRef<Floors> + 'static>(shard: Rc<S>, me: ShardNo, errands: Errands) {
    let Some(mailbox) = errands.all.get(me.index()).cloned() else { return };
    let (mut arrived, mut count) = (Vec::new(), 0_u64);
    loop {
        mailbox.arrived().await;
        mailbox.take(&mut arrived);
        for errand in arrived.drain(..) {
            count += 1;
            let route = Route { shard: me, connection: NOWHERE, request: RequestId::new(count) };
            let shard = shard.clone();
            tokio::task::spawn_local(async move {
                let floors = (*shard).as_ref();
                errand(floors, route).await;
                floors.forget(route);
            });
        }
    }
}
