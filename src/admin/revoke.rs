//! `POST /revoke`: tokens and devices that count no more.
//!
//! ```text
//! {"user": "alice"}                        every token of hers issued until now
//! {"user": "alice", "device": "phone-1"}   this device
//! 200 {"sessions": 2}    404, 503, 500 {"error": "..."}    400, 403, 415 not what it must be
//! ```

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use damso_proto::id::Uid;
use serde::Deserialize;
use serde_json::json;

use crate::model::device::DeviceId;
use crate::requests::{RevokeError, Revoker};

const JSON: &str = "application/json";

/// Unknown fields are a mistake: what was meant to be narrower must not be carried out for all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    user: String,
    device: Option<String>,
}

pub(super) async fn revoke(
    State(revoker): State<Arc<Revoker>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Err((status, why)) = is_no_browser(&headers) {
        return answer(status, json!({ "error": why }));
    }
    let (uid, device) = match parse(&body) {
        Ok(asked) => asked,
        Err(why) => return answer(StatusCode::BAD_REQUEST, json!({ "error": why })),
    };
    match revoker.revoke(uid, device).await {
        Ok(revoked) => answer(StatusCode::OK, json!({ "sessions": revoked.sessions })),
        Err(error) => {
            let status = match error {
                RevokeError::NoPerson(_) => StatusCode::NOT_FOUND,
                RevokeError::Busy => StatusCode::SERVICE_UNAVAILABLE,
                RevokeError::Directory(_) | RevokeError::Unconfirmed => {
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            };
            answer(status, json!({ "error": error.to_string() }))
        }
    }
}

fn parse(body: &[u8]) -> Result<(Uid, Option<DeviceId>), String> {
    let asked: Asked = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let uid = Uid::parse(&asked.user).ok_or("user: 1-64 bytes without control characters")?;
    let device = match asked.device {
        Some(device) => Some(DeviceId::parse(&device).ok_or("device: 1-64 bytes")?),
        None => None,
    };
    Ok((uid, device))
}

/// The port has no password. A page that an operator's browser shows could ask it, too; but a
/// browser says for whom it asks, and asks before it sends JSON.
fn is_no_browser(headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    if headers.contains_key(header::ORIGIN) {
        return Err((StatusCode::FORBIDDEN, "not for web pages"));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    match kind.and_then(|kind| kind.split(';').next()) {
        Some(kind) if kind.trim().eq_ignore_ascii_case(JSON) => Ok(()),
        _ => Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json")),
    }
}

fn answer(status: StatusCode, body: serde_json::Value) -> Response {
    (status, [(header::CONTENT_TYPE, JSON)], format!("{body}\n")).into_response()
}
