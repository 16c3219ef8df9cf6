//! `GET /status`: how the server is, in one answer.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::entry::answer;
use super::parts::Parts;
use super::process;
use super::report::{ShardRow, Status};
use crate::delivery::Counts;
use crate::runtime::memory::Resident;

pub(super) async fn status(State(parts): State<Arc<Parts>>) -> Response {
    let shards = parts.operator.counts().await;
    let status = Status {
        facts: parts.health.facts(),
        not_ready: parts.health.ready().err(),
        resident_bytes: Resident::now().map(|resident| resident.all),
        descriptors: process::open_descriptors(),
        descriptors_max: process::descriptors(),
        cpu_s: process::cpu_seconds(),
        shards: shards.into_iter().map(|counts| counts.map(row)).collect(),
    };
    answer(StatusCode::OK, &status)
}

fn row(counts: Counts) -> ShardRow {
    let Counts { sessions, people, channels, mail, unsent_oldest } = counts;
    let unsent_oldest_ms = (unsent_oldest.as_micros() as f64) / 1e3;
    ShardRow { sessions, people, channels, mail, unsent_oldest_ms }
}
