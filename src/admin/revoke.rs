//! `POST /revoke`: tokens and devices that count no more.
//!
//! ```text
//! {"user": "alice"}                        every token of hers issued until now
//! {"user": "alice", "device": "phone-1"}   this device
//! 200 {"sessions": 2}    404, 503, 500 {"error": "..."}    400, 401, 403, 415 not what it must be
//! ```

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;

use super::entry::{answer, parse, person, refused};
use super::parts::Parts;
use crate::requests::RevokeError;

/// Unknown fields are a mistake: what was meant to be narrower must not be carried out for all.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    user: String,
    device: Option<String>,
}

pub(super) async fn revoke(State(parts): State<Arc<Parts>>, body: Bytes) -> Response {
    let named = |Asked { user, device }: Asked| person(&user, device.as_deref());
    let (uid, device) = match parse(&body).map(named) {
        Ok(Ok(asked)) => asked,
        Ok(Err(why)) => return refused(StatusCode::BAD_REQUEST, why),
        Err(answer) => return *answer,
    };
    match parts.revoker.revoke(uid, device).await {
        Ok(revoked) => answer(StatusCode::OK, &json!({ "sessions": revoked.sessions })),
        Err(error) => {
            let status = match error {
                RevokeError::NoPerson(_) => StatusCode::NOT_FOUND,
                RevokeError::Busy => StatusCode::SERVICE_UNAVAILABLE,
                RevokeError::Directory(_) | RevokeError::Unconfirmed => {
                    StatusCode::INTERNAL_SERVER_ERROR
                }
            };
            refused(status, &error.to_string())
        }
    }
}
