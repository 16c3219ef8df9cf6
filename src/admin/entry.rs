//! Who may ask, and how they are answered.
//!
//! Where the server has a password, everybody needs it but probes of health. Without one the port
//! is on loopback, and whoever is on this machine may ask: but not the pages that a browser on it
//! shows. A browser says for whom it asks, asks before it sends JSON, and, where a page's own name
//! was made to mean this machine, asks for that name.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use damso_proto::id::Uid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::report::Refused;
use super::token::AdminToken;
use crate::model::device::DeviceId;
use crate::requests::OperateError;

const JSON: &str = "application/json";
const SCHEME: &str = "Bearer ";

/// The server's password, if it has one.
pub(super) type Password = Option<Arc<AdminToken>>;

/// Lets those through who have the password.
pub(super) async fn password(
    State(password): State<Password>,
    request: Request,
    next: Next,
) -> Response {
    let Some(token) = password else { return next.run(request).await };
    let presented = request.headers().get(header::AUTHORIZATION);
    let presented = presented.and_then(|value| value.to_str().ok()?.strip_prefix(SCHEME));
    if presented.is_some_and(|presented| token.is(presented.trim())) {
        return next.run(request).await;
    }
    metrics::counter!("damso_admin_refused_total", "reason" => "token").increment(1);
    let why = "this server wants its admin token: Authorization: Bearer ...";
    let mut answer = refused(StatusCode::UNAUTHORIZED, why);
    answer
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    answer
}

/// Lets those through who are no page in a browser.
pub(super) async fn no_browser(
    State(password): State<Password>,
    request: Request,
    next: Next,
) -> Response {
    let is_change = request.method() != Method::GET && request.method() != Method::HEAD;
    match is_no_browser(request.headers(), is_change, password.is_some()) {
        Ok(()) => next.run(request).await,
        Err((status, why)) => {
            metrics::counter!("damso_admin_refused_total", "reason" => "browser").increment(1);
            refused(status, why)
        }
    }
}

fn is_no_browser(
    headers: &HeaderMap,
    is_change: bool,
    has_password: bool,
) -> Result<(), (StatusCode, &'static str)> {
    if headers.contains_key(header::ORIGIN) {
        return Err((StatusCode::FORBIDDEN, "not for web pages"));
    }
    // No page has the password, whatever it calls this machine.
    if !has_password && !headers.get(header::HOST).is_some_and(names_this_machine) {
        return Err((StatusCode::FORBIDDEN, "ask for this machine by address, or as localhost"));
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    match kind.and_then(|kind| kind.split(';').next()) {
        Some(kind) if kind.trim().eq_ignore_ascii_case(JSON) => Ok(()),
        _ if !is_change => Ok(()),
        _ => Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json")),
    }
}

fn names_this_machine(host: &header::HeaderValue) -> bool {
    let authority = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
    })
}

/// What a body says. Unknown fields are a mistake wherever the type says so.
pub(super) fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Box<Response>> {
    serde_json::from_slice(body)
        .map_err(|error| Box::new(refused(StatusCode::BAD_REQUEST, &error.to_string())))
}

/// A person, and perhaps a device of theirs, as a request names them.
pub(super) fn person(
    uid: &str,
    device: Option<&str>,
) -> Result<(Uid, Option<DeviceId>), &'static str> {
    let uid = uid_of(uid)?;
    let device = device.map(|device| DeviceId::parse(device).ok_or("device: 1-64 bytes"));
    Ok((uid, device.transpose()?))
}

/// The same without a device.
pub(super) fn uid_of(uid: &str) -> Result<Uid, &'static str> {
    Uid::parse(uid).ok_or("user: 1-64 bytes without control characters")
}

/// An answer.
pub(super) fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_string(body) {
        Ok(text) => (status, [(header::CONTENT_TYPE, JSON)], format!("{text}\n")).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Nothing was done, and why.
pub(super) fn refused(status: StatusCode, why: &str) -> Response {
    answer(status, &Refused { error: why.to_owned() })
}

/// What of an operator's request could not be done.
pub(super) fn failed(error: &OperateError) -> Response {
    let status = match error {
        OperateError::NoPerson(_) | OperateError::NoConnection(_) => StatusCode::NOT_FOUND,
        OperateError::Busy | OperateError::Silent(_) => StatusCode::SERVICE_UNAVAILABLE,
        OperateError::Directory(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    refused(status, &error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(header::HeaderName, &str)]) -> HeaderMap {
        let lines = lines.iter();
        lines.map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_page_that_calls_itself_this_machine_is_told_from_a_tool_on_it() {
        for (host, is_ours) in [
            ("127.0.0.1:9464", true),
            ("[::1]:9464", true),
            ("LOCALHOST:9464", true),
            ("10.0.0.7", true),
            ("evil.example:9464", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("", false),
        ] {
            let asked = headers(&[(header::HOST, host)]);
            assert_eq!(is_no_browser(&asked, false, false).is_ok(), is_ours, "{host}");
            assert!(is_no_browser(&asked, false, true).is_ok(), "{host}: it has the password");
        }
        assert!(is_no_browser(&headers(&[]), false, false).is_err());
    }

    #[test]
    fn a_change_is_json_and_of_no_origin() {
        let host = (header::HOST, "localhost");
        let json = (header::CONTENT_TYPE, "application/json; charset=utf-8");
        let origin = (header::ORIGIN, "http://localhost");
        let form = (header::CONTENT_TYPE, "text/plain");
        assert!(is_no_browser(&headers(&[host.clone(), json.clone()]), true, false).is_ok());
        assert!(is_no_browser(&headers(&[host.clone(), form]), true, false).is_err());
        assert!(is_no_browser(&headers(std::slice::from_ref(&host)), true, false).is_err());
        assert!(is_no_browser(&headers(&[host, json, origin]), true, true).is_err());
    }
}
