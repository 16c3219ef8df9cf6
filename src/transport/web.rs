//! Listeners for HTTP/1.1 within limits: the API's, with TLS and the server's certificate, and the
//! admin port, without. What is asked is answered by the routes that are handed in.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use crate::model::limits;
use crate::runtime::shutdown::{Phase, Watch};

/// What clients and server agree on.
const ALPN: &[u8] = b"http/1.1";

/// What a listener is given.
pub struct Web {
    /// What it is called in logs and metrics.
    pub name: &'static str,
    /// Where it listens.
    pub listener: TcpListener,
    /// The server's certificate. `None`: plain HTTP.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Connections at a time; more are closed at once.
    pub connections_max: usize,
    /// A handshake must be over after so long.
    pub handshake_time: Duration,
    /// When it takes nothing more.
    pub until: Phase,
    /// What is being answered then has so long.
    pub drain_time: Duration,
}

/// Serves `routes` until its phase comes, then answers what has come, within the time for that.
///
/// # Errors
/// The listener cannot be watched.
pub async fn serve_web(web: Web, routes: Router, mut shutdown: Watch) -> io::Result<()> {
    let Web { name, listener, tls, connections_max, handshake_time, until, drain_time } = web;
    let tls = tls.map(|tls| {
        let mut tls = (*tls).clone();
        tls.alpn_protocols = vec![ALPN.to_vec()];
        TlsAcceptor::from(Arc::new(tls))
    });
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(connections_max));
    let mut pause = limits::ACCEPT_PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.reached(until) => break,
        };
        let (stream, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                metrics::counter!("damso_accept_failed_total").increment(1);
                tracing::warn!(%error, name, "cannot accept a connection");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(limits::ACCEPT_PAUSE_MAX);
                continue;
            }
        };
        pause = limits::ACCEPT_PAUSE_MIN;
        let Ok(place) = places.clone().try_acquire_owned() else {
            metrics::counter!("damso_web_turned_away_total", "listener" => name).increment(1);
            continue;
        };
        let visit = Visit { routes: routes.clone(), shutdown: shutdown.clone(), until, place };
        let Some(tls) = tls.clone() else {
            tokio::spawn(visit.converse(stream));
            continue;
        };
        tokio::spawn(async move {
            match tokio::time::timeout(handshake_time, tls.accept(stream)).await {
                Ok(Ok(stream)) => visit.converse(stream).await,
                Ok(Err(error)) => tracing::debug!(%error, name, "a handshake failed"),
                Err(_) => tracing::debug!(name, "a handshake took too long"),
            }
        });
    }
    drop(listener);
    // Every connection holds a place until it has ended.
    let all = u32::try_from(connections_max).unwrap_or(u32::MAX);
    drop(tokio::time::timeout(drain_time, places.acquire_many(all)).await);
    Ok(())
}

/// One connection.
struct Visit {
    routes: Router,
    shutdown: Watch,
    until: Phase,
    /// Held until it has ended.
    place: OwnedSemaphorePermit,
}

impl Visit {
    async fn converse<S>(self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { routes, mut shutdown, until, place } = self;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits::API_HEAD_TIME_MAX)
            .max_headers(limits::API_HEADERS_MAX)
            .max_buf_size(limits::API_HEAD_BYTES_MAX);
        let service = TowerToHyperService::new(routes);
        let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => Ok(ended),
            () = over(&mut shutdown, until) => {
                // What is being answered still is; nothing more is read.
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(limits::API_REQUEST_TIME_MAX, connection).await
            }
        };
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a connection of HTTP broke"),
            Err(_) => tracing::debug!("a connection of HTTP takes no answers"),
        }
        drop(place);
    }
}

/// Waits until a connection that began now is to end.
async fn over(shutdown: &mut Watch, until: Phase) {
    let ending = shutdown.reached(until);
    // Either way it is time.
    drop(tokio::time::timeout(limits::API_CONNECTION_TIME_MAX, ending).await);
}
