//! The admin routes, and a page that names them.

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::entry::{self, Password};
use super::parts::Parts;
use super::report::Facts;
use super::{connections, drain, process, revoke, status};
use crate::model::limits;

/// Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The routes.
pub fn router(parts: Parts) -> Router {
    let password: Password = parts.token.clone().map(Arc::new);
    let parts = Arc::new(parts);
    let operators = Router::new()
        .route("/status", get(status::status))
        .route("/connections", get(connections::list))
        .route("/kick", post(connections::kick))
        .route("/drain", post(drain::drain))
        .route("/revoke", post(revoke::revoke))
        .layer(from_fn_with_state(password.clone(), entry::no_browser));
    let read = Router::new().route("/", get(index)).route("/metrics", get(scrape));
    let probes = Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz));
    operators
        .merge(read)
        .layer(from_fn_with_state(password, entry::password))
        .merge(probes)
        .with_state(parts)
        .layer(DefaultBodyLimit::max(limits::ADMIN_BODY_BYTES_MAX))
}

async fn index(State(parts): State<Arc<Parts>>) -> String {
    let Facts { version, .. } = parts.health.facts();
    format!(
        "damso {version}\n\n\
         /healthz      200 while the process answers\n\
         /readyz       200 while connections and messages are taken, else 503 and why\n\
         /metrics      Prometheus text\n\
         /status       how the server is (JSON)\n\
         /connections  who is connected (JSON): ?user=UID&after=CONNECTION&max=NUMBER\n\
         /kick         POST {{\"user\": UID, \"device\": ID}} or {{\"connection\": NAME}}: ends connections\n\
         /revoke       POST {{\"user\": UID, \"device\": ID}}: tokens so far, or one device, count no more\n\
         /drain        POST {{}}: tells clients when to come back, and ends\n\n\
         The same as commands: damso status, connections, kick, revoke, drain.\n"
    )
}

/// Alive: whoever can read this, is.
async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(parts): State<Arc<Parts>>) -> Response {
    match parts.health.ready() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn scrape(State(parts): State<Arc<Parts>>) -> Response {
    process::measure();
    parts.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, TEXT)], parts.metrics.render()).into_response()
}
