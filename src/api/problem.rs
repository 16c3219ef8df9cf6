//! Why not: a problem as RFC 9457 has it, with the wire's own code.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use damso_proto::code::Code;
use serde::Serialize;

use crate::model::draft::Invalid;
use crate::model::limits;
use crate::model::scope::Scope;
use crate::requests::{Refusal, Told};
use crate::store::directory::DirectoryError;

/// See the module's text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Problem {
    pub(super) status: StatusCode,
    code: &'static str,
    detail: String,
    field: String,
    after: Duration,
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    field: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    retry_after_ms: u128,
}

const fn is_zero(ms: &u128) -> bool {
    *ms == 0
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        let (detail, field, after) = (detail.into(), String::new(), Duration::ZERO);
        Self { status, code: code.name(), detail, field, after }
    }

    /// Names the field at fault.
    pub(super) fn at(self, field: impl Into<String>) -> Self {
        Self { field: field.into(), ..self }
    }

    /// Says when to come back.
    fn after(self, after: Duration) -> Self {
        Self { after, ..self }
    }

    /// The same under a name that says more than the wire's.
    fn called(self, code: &'static str) -> Self {
        Self { code, ..self }
    }

    /// A field that is not as it must be.
    pub(super) fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::Invalid, detail).at(field)
    }

    /// What names nothing that is there.
    pub(super) fn not_found(detail: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NotFound, detail)
    }

    /// A person in the path who is not there.
    pub(super) fn no_person() -> Self {
        Self::not_found("there is no such person; PUT /v1/users/{uid} makes them")
    }

    /// People in a body who are not there.
    pub(super) fn nobody(field: &str) -> Self {
        let detail = "there is no such person; PUT /v1/users/{uid} makes them";
        Self { code: Code::NotFound.name(), ..Self::invalid(field, detail) }
    }

    /// A person is to be heard in a channel in which they have no say.
    pub(super) fn no_writer() -> Self {
        let detail = "this person does not write in this channel";
        Self::new(StatusCode::FORBIDDEN, Code::NotAllowed, detail).at("as")
    }

    pub(super) fn no_key(detail: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, Code::TokenInvalid, detail)
    }

    pub(super) fn no_scope(scope: Scope) -> Self {
        let detail = format!(
            "this key lacks the scope \"{}\": make one that has it, `damso key create NAME --scope {0}`",
            scope.name()
        );
        Self::new(StatusCode::FORBIDDEN, Code::NotAllowed, detail)
    }

    /// The work may have been done: only the same name of the request finds out.
    pub(super) fn unknown_outcome() -> Self {
        let detail = "the outcome is unknown: ask again with the same Idempotency-Key";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::OutcomeUnknown, detail)
            .after(limits::OVERLOADED_RETRY)
    }

    pub(super) fn overloaded(detail: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::Overloaded, detail)
            .after(limits::OVERLOADED_RETRY)
    }

    pub(super) fn too_long() -> Self {
        let detail = format!("a body has {} bytes at most", limits::API_BODY_BYTES_MAX);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge, detail)
    }

    pub(super) fn too_slow() -> Self {
        let detail = "the body did not come in time";
        Self::new(StatusCode::REQUEST_TIMEOUT, Code::Deadline, detail)
    }

    pub(super) fn no_json() -> Self {
        let detail = "a body must be JSON: -H 'Content-Type: application/json'";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Malformed, detail)
    }

    pub(super) fn bad_json(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::Malformed, detail)
    }

    pub(super) fn no_method() -> Self {
        let detail = "this path does not take this method: see GET /v1/openapi.json";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, Code::UnknownRequest, detail)
    }

    pub(super) fn no_path() -> Self {
        let detail = "there is no such path: see GET /v1/openapi.json";
        Self::new(StatusCode::NOT_FOUND, Code::UnknownRequest, detail)
    }

    /// Tokens are issued elsewhere.
    pub(super) fn no_issuer() -> Self {
        let detail = "this server issues no tokens: it runs with auth.token_keys or token_jwks, so \
                      your own issuer signs them";
        Self::new(StatusCode::CONFLICT, Code::NotAllowed, detail).called("external_issuer")
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        (&Refusal::Invalid(invalid)).into()
    }
}

impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Self {
        let Told { code, field, after, text } = refusal.into();
        let status = match code {
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::NotAllowed | Code::Muted | Code::Blocked => StatusCode::FORBIDDEN,
            Code::LimitReached | Code::Banned | Code::KeyExpired | Code::KeyInFuture => {
                StatusCode::CONFLICT
            }
            Code::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Code::Deadline
            | Code::Overloaded
            | Code::Unavailable
            | Code::Draining
            | Code::OutcomeUnknown => StatusCode::SERVICE_UNAVAILABLE,
            Code::Malformed
            | Code::UnknownRequest
            | Code::Invalid
            | Code::TooLarge
            | Code::KeyMissing
            | Code::KeyReused
            | Code::TokenInvalid
            | Code::TokenExpired
            | Code::Version => StatusCode::UNPROCESSABLE_ENTITY,
        };
        match code {
            Code::OutcomeUnknown => Self::unknown_outcome(),
            Code::Deadline => Self::overloaded("the work could not begin in time"),
            Code::KeyReused => Self::reused(),
            // What the backend sends is a header; the key within is the server's own.
            Code::KeyExpired | Code::KeyInFuture => {
                Self::new(status, code, text).at("Idempotency-Key")
            }
            _ => Self::new(status, code, text).at(field).after(after),
        }
    }
}

impl From<&DirectoryError> for Problem {
    fn from(error: &DirectoryError) -> Self {
        match error {
            DirectoryError::KeyReused => Self::reused(),
            error => {
                tracing::error!(%error, "the directory cannot answer the API");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    Code::Unavailable,
                    "the stores cannot answer now",
                )
                .after(limits::UNAVAILABLE_RETRY)
            }
        }
    }
}

impl Problem {
    fn reused() -> Self {
        let detail = "this Idempotency-Key was used for another request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::KeyReused, detail).at("Idempotency-Key")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, code, detail, field, after } = self;
        let title = status.canonical_reason().unwrap_or("Error");
        let retry_after_ms = after.as_micros().div_ceil(1_000);
        let status_code = status.as_u16();
        let body = Body {
            r#type: "about:blank",
            title,
            status: status_code,
            detail: &detail,
            code,
            field: &field,
            retry_after_ms,
        };
        let body = serde_json::to_vec(&body).expect("texts and numbers are JSON");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, json);
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if !after.is_zero() {
            // Rounded up: whoever waits as long as they are told must not be too early.
            headers.insert(
                header::RETRY_AFTER,
                after
                    .as_millis()
                    .div_ceil(1_000)
                    .max(1)
                    .to_string()
                    .parse()
                    .expect("digits are a header"),
            );
        }
        response
    }
}
