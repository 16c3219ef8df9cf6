//! The admin routes: `/metrics`, `/healthz`, `/readyz`, `/revoke`, and a page that names them.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use metrics_exporter_prometheus::PrometheusHandle;

use super::{process, revoke};
use crate::model::limits;
use crate::requests::Revoker;

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the page asks to know how the server is.
pub trait Health: Send + Sync {
    /// `Err`: not ready for connections, and why.
    fn ready(&self) -> Result<(), String>;
    /// What to call this server, and since when it runs.
    fn about(&self) -> String;
}

struct Page {
    metrics: PrometheusHandle,
    health: Arc<dyn Health>,
}

/// Serves the admin page until the future is dropped.
///
/// # Errors
/// The listener fails.
pub async fn serve(
    listener: tokio::net::TcpListener,
    metrics: PrometheusHandle,
    health: Arc<dyn Health>,
    revoker: Revoker,
) -> io::Result<()> {
    let page = Arc::new(Page { metrics, health });
    let routes = Router::new()
        .route("/", get(index))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(scrape))
        .with_state(page)
        .route("/revoke", post(revoke::revoke).with_state(Arc::new(revoker)))
        .layer(DefaultBodyLimit::max(limits::ADMIN_BODY_BYTES_MAX));
    axum::serve(listener, routes).await
}

async fn index(State(page): State<Arc<Page>>) -> String {
    let about = page.health.about();
    format!(
        "{about}\n\n\
         /healthz  200 while the process answers\n\
         /readyz   200 while connections and messages are taken, else 503 and why\n\
         /metrics  Prometheus text\n\
         /revoke   POST {{\"user\": UID, \"device\": ID}}: tokens so far, or one device, count no more\n"
    )
}

/// Alive: whoever can read this, is.
async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(page): State<Arc<Page>>) -> Response {
    match page.health.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn scrape(State(page): State<Arc<Page>>) -> Response {
    process::measure();
    page.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, TEXT)], page.metrics.render()).into_response()
}
