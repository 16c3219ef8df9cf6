//! The accept loop: one listener per shard on the same port.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use super::guests::Guests;
use super::login::{Entrance, enter};
use super::proxy::{self, Proxies};
use crate::connections::{Socket, TokioSocket};
use crate::model::limits;

/// Why the chat port cannot be served.
#[derive(thiserror::Error, Debug)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// Binds one listener per shard.
///
/// # Errors
/// [`BindError`]: what the operating system says.
pub fn bind(address: SocketAddr, shards: usize) -> Result<Vec<TcpListener>, BindError> {
    let failed = |source| BindError { address, source };
    // SO_REUSEPORT would let a second server onto the same port without a word: ask plainly first.
    let address = probe(address).map_err(failed)?;
    (0..shards).map(|_| shared(address).map_err(failed)).collect()
}

/// Whether nobody listens on this address: listens there for a moment. Port 0 becomes a free one.
///
/// # Errors
/// Whatever the operating system says; [`io::ErrorKind::AddrInUse`]: somebody does.
pub fn probe(address: SocketAddr) -> io::Result<SocketAddr> {
    plain(address)?.local_addr()
}

fn plain(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old connections' TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1)?;
    Ok(socket.into())
}

fn shared(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    // Inherited by accepted sockets: what the kernel may hold for a reader that stops.
    socket.set_send_buffer_size(limits::SOCKET_SEND_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    socket.listen(limits::LISTEN_BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts until dropped. `connections` counts live ones over all shards; those from `proxies`
/// must begin with a header that says whose they are.
///
/// # Errors
/// The listener cannot be watched.
pub async fn accept(
    entrance: Entrance,
    listener: TcpListener,
    connections: Arc<AtomicUsize>,
    connections_max: usize,
    proxies: Proxies,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let shard = &entrance.shard;
    let guests = Guests::new(connections_max, &shard.floors().limits, shard.number());
    let lobby = Lobby { entrance, guests };
    let mut pause = limits::ACCEPT_PAUSE_MIN;
    loop {
        // The kernel keeps whoever comes faster than that.
        lobby.entrance.shard.admit_step().await;
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly: the backlog keeps them, spinning would not help.
                metrics::counter!("damso_accept_failed_total").increment(1);
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(limits::ACCEPT_PAUSE_MAX);
                continue;
            }
        };
        pause = limits::ACCEPT_PAUSE_MIN;
        let counted = Counted::new(connections.clone());
        if connections.load(Ordering::Relaxed) > connections_max {
            metrics::counter!("damso_connections_turned_away_total", "reason" => "full")
                .increment(1);
            continue;
        }
        let from = address.ip().to_canonical();
        let Ok(socket) = TokioSocket::new(stream, counted) else { continue };
        if proxies.trusts(from) {
            tokio::task::spawn_local(lobby.clone().ask(Box::new(socket), from));
        } else {
            lobby.admit(Box::new(socket), Some(from));
        }
    }
}

/// Where whoever was accepted goes.
#[derive(Clone)]
struct Lobby {
    entrance: Entrance,
    guests: Guests,
}

impl Lobby {
    /// Asks a proxy whose connection it is. Until that is known it takes nobody's place: a proxy
    /// that is trusted says so at once.
    async fn ask(self, socket: Box<dyn Socket>, from: IpAddr) {
        let told = tokio::time::timeout(limits::HANDSHAKE_TIME_MAX, proxy::told(&*socket)).await;
        let reason = match told {
            Ok(Ok(address)) => return self.admit(socket, address),
            Ok(Err(bad)) => {
                tracing::debug!(%from, %bad, "a proxy's connection is of no use");
                "proxy"
            }
            Err(_) => "proxy_late",
        };
        metrics::counter!("damso_logins_failed_total", "reason" => reason).increment(1);
    }

    /// Lets a connection log in, if its address has a place to spare.
    fn admit(&self, socket: Box<dyn Socket>, address: Option<IpAddr>) {
        let Self { entrance, guests } = self.clone();
        let clock = entrance.shard.floors().clock.clone();
        let place = match guests.enter(address, clock.now()) {
            Ok(place) => place,
            Err(full) => {
                metrics::counter!("damso_connections_turned_away_total", "reason" => full.name())
                    .increment(1);
                return;
            }
        };
        let number = place.number();
        let task = tokio::task::spawn_local(async move {
            let shaken = enter(entrance, socket, address).await;
            // A proxy's own connections look whether somebody is here.
            if let Some(address) = address.filter(|_| !shaken) {
                guests.failed(address, clock.now());
            }
            drop(place);
        });
        self.guests.seat(number, task.abort_handle());
    }
}

/// One live connection, counted from accept until its socket is dropped on whatever shard.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(connections: Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(connections)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
