//! The API's own listener: TLS with the server's certificate, HTTP/1.1 within limits. What is asked
//! is answered by the service that is handed in.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use crate::model::limits;
use crate::runtime::shutdown::{Phase, Watch};

/// What clients and server agree on.
const ALPN: &[u8] = b"http/1.1";

/// What the API's listener is given.
pub struct Web {
    /// Where it listens.
    pub listener: TcpListener,
    /// The server's certificate.
    pub tls: Arc<rustls::ServerConfig>,
    /// A handshake must be over after so long.
    pub handshake_time: Duration,
    /// Once the server drains, what is being answered has so long.
    pub drain_time: Duration,
}

/// Serves `routes` until the server drains, then answers what has come, within the time for that.
///
/// # Errors
/// The listener cannot be watched.
pub async fn serve_web(web: Web, routes: Router, mut shutdown: Watch) -> io::Result<()> {
    let Web { listener, tls, handshake_time, drain_time } = web;
    let mut tls = (*tls).clone();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let tls = TlsAcceptor::from(Arc::new(tls));
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(limits::API_CONNECTIONS_MAX));
    let mut pause = limits::ACCEPT_PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.reached(Phase::Draining) => break,
        };
        let (stream, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                metrics::counter!("damso_accept_failed_total").increment(1);
                tracing::warn!(%error, "cannot accept a connection of the API");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(limits::ACCEPT_PAUSE_MAX);
                continue;
            }
        };
        pause = limits::ACCEPT_PAUSE_MIN;
        let Ok(place) = places.clone().try_acquire_owned() else {
            metrics::counter!("damso_api_refused_total", "reason" => "connections").increment(1);
            continue;
        };
        let (tls, routes, shutdown) = (tls.clone(), routes.clone(), shutdown.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(handshake_time, tls.accept(stream)).await {
                Ok(Ok(stream)) => converse(stream, routes, shutdown, place).await,
                Ok(Err(error)) => tracing::debug!(%error, "a handshake of the API failed"),
                Err(_) => tracing::debug!("a handshake of the API took too long"),
            }
        });
    }
    drop(listener);
    // Every connection holds a place until it has ended.
    let all = u32::try_from(limits::API_CONNECTIONS_MAX).unwrap_or(u32::MAX);
    drop(tokio::time::timeout(drain_time, places.acquire_many(all)).await);
    Ok(())
}

async fn converse(
    stream: tokio_rustls::server::TlsStream<TcpStream>,
    routes: Router,
    mut shutdown: Watch,
    place: OwnedSemaphorePermit,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits::API_HEAD_TIME_MAX)
        .max_headers(limits::API_HEADERS_MAX)
        .max_buf_size(limits::API_HEAD_BYTES_MAX);
    let service = TowerToHyperService::new(routes);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        () = over(&mut shutdown) => {
            // What is being answered still is; nothing more is read.
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(limits::API_REQUEST_TIME_MAX, connection).await
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection of the API broke"),
        Err(_) => tracing::debug!("a connection of the API takes no answers"),
    }
    drop(place);
}

/// Waits until a connection that began now is to end.
async fn over(shutdown: &mut Watch) {
    let draining = shutdown.reached(Phase::Draining);
    // Either way it is time.
    drop(tokio::time::timeout(limits::API_CONNECTION_TIME_MAX, draining).await);
}
