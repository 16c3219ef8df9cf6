//! One thread per shard: its runtime, its tasks, its end.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::{io, thread};

use crate::api::{self, Errands};
use crate::connections::{self, Connections};
use crate::delivery::{Mailboxes, Parts, Tools};
use crate::runtime::random::Random;
use crate::runtime::route::ShardNo;
use crate::runtime::shutdown::{Drain, Phase, Watch};
use crate::session::{self, Options};
use crate::transport::{self, Door, Entrance, Handovers, Proxies};

/// What a shard's thread is given. All of it is `Send`; the shard itself is made on its thread.
pub(super) struct Seed {
    pub(super) me: ShardNo,
    pub(super) mailboxes: Mailboxes,
    pub(super) handovers: Handovers,
    pub(super) errands: Errands,
    pub(super) tools: Tools,
    pub(super) random: Arc<dyn Random>,
    pub(super) connections: connections::Options,
    pub(super) options: Options,
    pub(super) listener: TcpListener,
    pub(super) tls: Arc<rustls::ServerConfig>,
    pub(super) door: Door,
    pub(super) live: Arc<AtomicUsize>,
    pub(super) live_max: usize,
    pub(super) proxies: Proxies,
    pub(super) shutdown: Watch,
    /// What clients are told at the end.
    pub(super) drain: Arc<Drain>,
    /// Dropped once this shard has drained.
    pub(super) drained: Sender<()>,
}

/// Starts a shard's thread.
pub(super) fn spawn(seed: Seed) -> io::Result<JoinHandle<()>> {
    let name = format!("shard-{}", seed.me.index());
    thread::Builder::new().name(name).spawn(move || {
        if let Err(error) = run(seed) {
            // A shard that cannot run leaves its people unserved: better no server than half of one.
            tracing::error!(%error, "a shard cannot run");
            std::process::exit(70);
        }
    })
}

fn run(seed: Seed) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    tasks.block_on(&runtime, serve(seed))
}

/// The shard's life: serve, drain, flush.
async fn serve(seed: Seed) -> io::Result<()> {
    let Seed { me, mailboxes, handovers, tools, mut shutdown, live, live_max, listener, .. } = seed;
    let (Some(home), Some(arrivals)) = (mailboxes.of(me).cloned(), handovers.of(me).cloned())
    else {
        return Err(io::Error::other("there is no such shard"));
    };
    let connections = Connections::new(seed.connections, me);
    let parts = Parts { me, home, mailboxes, tools, connections };
    let shard = session::make(parts, seed.random, seed.options);
    let (tls, door, scratch) = (seed.tls, seed.door, Default::default());
    let entrance = Entrance { shard: shard.clone(), handovers, tls, door, scratch };
    // For as long as it turns: what the API has taken in is still answered.
    let errands = tokio::task::spawn_local(api::receive(shard.clone(), me, seed.errands));
    let turning = tokio::task::spawn_local(shard.clone().run());
    let receiving = tokio::task::spawn_local(transport::receive(shard.clone(), arrivals));
    let accepting = transport::accept(entrance, listener, live, live_max, seed.proxies);

    tokio::select! {
        failed = accepting => return failed,
        () = shutdown.reached(Phase::Draining) => {}
    }
    receiving.abort();
    session::drain(&shard, seed.drain.farewell()).await;
    drop(seed.drained);
    shutdown.reached(Phase::Stopped).await;
    errands.abort();
    turning.abort();
    Ok(())
}
