//! The accept loop: one listener per shard on the same port.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use super::guests::Guests;
use super::login::{Entrance, enter};
use crate::connections::TokioSocket;
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

/// Accepts until dropped. `connections` counts live ones over all shards.
///
/// # Errors
/// The listener cannot be watched.
pub async fn accept(
    entrance: Entrance,
    listener: TcpListener,
    connections: Arc<AtomicUsize>,
    connections_max: usize,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let guests = Guests::new(connections_max, &entrance.shard.floors().limits);
    let mut pause = limits::ACCEPT_PAUSE_MIN;
    loop {
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
        let Ok(place) = guests.enter(address.ip()) else {
            metrics::counter!("damso_connections_turned_away_total", "reason" => "address")
                .increment(1);
            continue;
        };
        let Ok(socket) = TokioSocket::new(stream, counted) else { continue };
        let (entrance, number) = (entrance.clone(), place.number());
        let task = tokio::task::spawn_local(async move {
            enter(entrance, Box::new(socket), address.ip()).await;
            drop(place);
        });
        guests.seat(number, task.abort_handle());
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
