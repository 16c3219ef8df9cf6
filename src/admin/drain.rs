//! `POST /drain`: the end, asked for. What was asked before is committed and answered, every client
//! is told when to come back and where, then the process ends, as at SIGTERM.
//!
//! ```text
//! {}                                             as the configuration says
//! {"within_s": 30}                               clients come back within so long
//! {"to": ["chat2.example.org:7443"]}             clients go there meanwhile
//! 202 {"connections": 9812}    409 it drains already    400, 401, 403, 415 not what it must be
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use damso_proto::address;
use serde::Deserialize;

use super::entry::{answer, parse, refused};
use super::parts::Parts;
use super::report::Draining;
use crate::model::limits;
use crate::runtime::shutdown::Farewell;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    within_s: Option<u64>,
    to: Option<Vec<String>>,
}

pub(super) async fn drain(State(parts): State<Arc<Parts>>, body: Bytes) -> Response {
    let farewell = match parse(&body).map(|asked| farewell(asked, parts.drain.usual())) {
        Ok(Ok(farewell)) => farewell,
        Ok(Err(why)) => return refused(StatusCode::BAD_REQUEST, &why),
        Err(answer) => return *answer,
    };
    tracing::info!(?farewell, "an operator asks for the end");
    match parts.drain.ask(farewell) {
        Ok(()) => {
            let connections = parts.health.facts().connections;
            answer(StatusCode::ACCEPTED, &Draining { connections })
        }
        Err(already) => refused(StatusCode::CONFLICT, &already.to_string()),
    }
}

fn farewell(asked: Asked, usual: &Farewell) -> Result<Farewell, String> {
    let Asked { within_s, to } = asked;
    let spread = within_s.map_or(usual.spread, Duration::from_secs);
    if spread > limits::STAY_AWAY_MAX {
        return Err(format!("within_s: at most {}", limits::STAY_AWAY_MAX.as_secs()));
    }
    let to = to.unwrap_or_else(|| usual.to.clone());
    if to.len() > limits::ALTERNATES_MAX {
        return Err(format!("to: at most {}", limits::ALTERNATES_MAX));
    }
    match to.iter().find(|place| !address::is_authority(place)) {
        Some(bad) => Err(format!("to: {bad:?} is not HOST:PORT")),
        None => Ok(Farewell { spread, to }),
    }
}
