//! `GET /connections` and `POST /kick`.
//!
//! ```text
//! GET /connections?user=alice&after=0-12-3&max=100     200 {"connections": [...], "next": "1-7-1"}
//! POST /kick {"user": "alice"}                         all of hers
//!            {"user": "alice", "device": "phone-1"}    of this device
//!            {"connection": "0-12-3"}                  this one
//!            and "after_s": 60                         clients stay away for so long
//! 200 {"connections": 2}    404, 503, 500 {"error": "..."}    400, 401, 403, 415 not what it must be
//! ```

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::entry::{answer, failed, parse, person, refused, uid_of};
use super::parts::Parts;
use super::report::{ConnectionRow, Connections, Ended};
use crate::model::limits;
use crate::requests::{Listed, Page, Target};
use crate::runtime::route::ConnectionName;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AskedList {
    user: Option<String>,
    after: Option<String>,
    max: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedKick {
    user: Option<String>,
    device: Option<String>,
    connection: Option<String>,
    #[serde(default)]
    after_s: u64,
}

pub(super) async fn list(
    State(parts): State<Arc<Parts>>,
    asked: Result<Query<AskedList>, QueryRejection>,
) -> Response {
    let page = match asked.map_err(|error| error.body_text()).and_then(|Query(asked)| page(asked)) {
        Ok(page) => page,
        Err(why) => return refused(StatusCode::BAD_REQUEST, &why),
    };
    match parts.operator.connections(page).await {
        Ok((listed, more)) => {
            let next = listed.last().filter(|_| more).map(|last| last.name.to_string());
            let connections = listed.into_iter().map(row).collect();
            answer(StatusCode::OK, &Connections { connections, next })
        }
        Err(error) => failed(&error),
    }
}

fn page(asked: AskedList) -> Result<Page, String> {
    let AskedList { user, after, max } = asked;
    let user = user.map(|uid| uid_of(&uid)).transpose()?;
    let name = |text: String| text.parse().map_err(|error| format!("after: {error}"));
    let after: Option<ConnectionName> = after.map(name).transpose()?;
    let max = max.unwrap_or(limits::CONNECTIONS_PER_PAGE);
    if !(1..=limits::CONNECTIONS_PER_PAGE_MAX).contains(&max) {
        return Err(format!("max: 1 to {}", limits::CONNECTIONS_PER_PAGE_MAX));
    }
    Ok(Page { user, after, max })
}

fn row(listed: Listed) -> ConnectionRow {
    let Listed { name, uid, seen } = listed;
    let state = match (seen.is_over, seen.has_resumed) {
        (true, _) => "over",
        (false, true) => "live",
        (false, false) => "new",
    };
    ConnectionRow {
        connection: name.to_string(),
        user: uid.map(|uid| uid.as_str().to_owned()),
        number: seen.user.get(),
        device: seen.device.as_str().to_owned(),
        address: seen.address,
        since_s: seen.since.as_secs(),
        in_flight: seen.in_flight,
        state: state.to_owned(),
    }
}

pub(super) async fn kick(State(parts): State<Arc<Parts>>, body: Bytes) -> Response {
    let (target, after) = match parse(&body).map(whom) {
        Ok(Ok(asked)) => asked,
        Ok(Err(why)) => return refused(StatusCode::BAD_REQUEST, &why),
        Err(answer) => return *answer,
    };
    match parts.operator.disconnect(target, after).await {
        Ok(connections) => answer(StatusCode::OK, &Ended { connections }),
        Err(error) => failed(&error),
    }
}

fn whom(asked: AskedKick) -> Result<(Target, Duration), String> {
    let AskedKick { user, device, connection, after_s } = asked;
    let after = Duration::from_secs(after_s);
    if after > limits::STAY_AWAY_MAX {
        return Err(format!("after_s: at most {}", limits::STAY_AWAY_MAX.as_secs()));
    }
    let target = match (user, device, connection) {
        (Some(uid), device, None) => {
            let (uid, device) = person(&uid, device.as_deref())?;
            Target::Person(uid, device)
        }
        (None, None, Some(name)) => {
            Target::Connection(name.parse().map_err(|error| format!("connection: {error}"))?)
        }
        _ => return Err("name a user, a user and a device, or a connection".to_owned()),
    };
    Ok((target, after))
}
