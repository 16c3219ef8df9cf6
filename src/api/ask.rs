//! A request, its parts checked: path, query, body, name.

use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use damso_proto::id::{ChannelNo, Key, Uid};
use damso_proto::wire::client_frame::Kind as Asked;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::entry::{Api, Place};
use super::errand::Task;
use super::problem::Problem;
use crate::model::body::BodyHash;
use crate::model::deadline::Deadline;
use crate::model::device::DeviceId;
use crate::model::limits;
use crate::model::naming::ChannelKey;
use crate::model::rights::Actor;
use crate::requests::{self, ChannelName, Envelope, Floors, Refusal, Reply};
use crate::runtime::route::Route;
use crate::store::directory::{AskedAs, ServiceKeyId};

/// What names a request that changes something.
const NAME: &str = "idempotency-key";

/// A request that may be asked.
pub(super) struct Ask {
    pub(super) api: Arc<Api>,
    pub(super) place: Place,
    /// Method and path, as they came.
    pub(super) what: String,
    /// What stands for the names in the route's path, decoded.
    pub(super) names: Vec<(String, String)>,
    pub(super) query: String,
    pub(super) body: Bytes,
    /// Whose it is, and what they call it. `None`: anybody's.
    pub(super) by: Option<ServiceKeyId>,
    pub(super) name: Option<String>,
}

/// An answer.
pub(super) struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl Answer {
    /// What was asked for.
    pub(super) fn of(body: &impl Serialize) -> Result<Self, Problem> {
        Self::with(StatusCode::OK, body)
    }

    /// The same with another status.
    pub(super) fn with(status: StatusCode, body: &impl Serialize) -> Result<Self, Problem> {
        let body = serde_json::to_vec(body).expect("texts, numbers and lists are JSON");
        Ok(Self { status, body })
    }

    /// One that is written already.
    pub(super) fn written(status: StatusCode, json: &str) -> Self {
        Self { status, body: json.as_bytes().to_vec() }
    }

    pub(super) fn into_response(self) -> Response {
        let mut response = (self.status, self.body).into_response();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
        response
    }
}

impl Ask {
    fn named(&self, name: &str) -> &str {
        let found = self.names.iter().find(|(other, _)| other == name);
        found.map_or("", |(_, value)| value)
    }

    /// The person that the path names.
    pub(super) fn uid(&self) -> Result<Uid, Problem> {
        uid("uid", self.named("uid"))
    }

    /// The other person whom the path names.
    pub(super) fn blocked(&self) -> Result<Uid, Problem> {
        uid("blocked", self.named("blocked"))
    }

    /// The device that the path names.
    pub(super) fn device(&self) -> Result<DeviceId, Problem> {
        let detail = "a device is named by 1 to 64 bytes";
        DeviceId::parse(self.named("device")).ok_or_else(|| Problem::invalid("device", detail))
    }

    /// The key that the path gives a channel.
    pub(super) fn key(&self) -> Result<ChannelKey, Problem> {
        Ok(ChannelKey::parse(self.named("channel"))?)
    }

    /// The channel that the path names: by its number, if it is one, else by its key.
    pub(super) fn channel(&self) -> Result<ChannelName, Problem> {
        let name = self.named("channel");
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(ChannelName::Key(ChannelKey::parse(name)?));
        }
        let number = name.parse().map_err(|_| no_channel())?;
        Ok(ChannelName::Number(ChannelNo::new(number)))
    }

    /// The numbers that the query may have, in the order of `known`.
    pub(super) fn numbers<const N: usize>(
        &self,
        known: [&'static str; N],
    ) -> Result<[Option<u64>; N], Problem> {
        let mut found = [None; N];
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let at = known.iter().position(|known| *known == name).ok_or_else(|| {
                Problem::invalid(name, format!("there is no such parameter, only {known:?}"))
            })?;
            let number = u64::from_str(value).ok().filter(|_| !value.starts_with('+'));
            let number =
                number.ok_or_else(|| Problem::invalid(name, format!("{name} is not a number")))?;
            if found[at].replace(number).is_some() {
                return Err(Problem::invalid(name, format!("{name} stands there twice")));
            }
        }
        Ok(found)
    }

    /// The body; nothing at all is an empty object.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let body = if self.body.is_empty() { &b"{}"[..] } else { &self.body };
        let mut reader = serde_json::Deserializer::from_slice(body);
        let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
            let path = error.path().to_string();
            let error = error.into_inner();
            match error.classify() {
                serde_json::error::Category::Data => {
                    let field = if path == "." { String::new() } else { path };
                    Problem::invalid(field, error.to_string())
                }
                _ => Problem::bad_json(error.to_string()),
            }
        })?;
        reader.end().map_err(|error| Problem::bad_json(error.to_string()))?;
        Ok(read)
    }

    /// What the request is known by inside. Ask only once everything else is checked: a name stands
    /// for what was asked under it first.
    pub(super) async fn known_by(&self) -> Result<Key, Problem> {
        let asked = self.by.zip(self.name.clone()).map(|(by, name)| {
            // Not the bytes: the same object may be written in two orders.
            let value = serde_json::from_slice::<serde_json::Value>(&self.body);
            let body = value.map_or_else(|_| Vec::new(), |value| value.to_string().into_bytes());
            AskedAs { by, name, body: BodyHash::of("api", &[self.what.as_bytes(), &body]) }
        });
        self.api.known_by(asked).await
    }

    /// Has `work` done by the shard for what concerns `near`.
    pub(super) async fn carry_out<R, F>(&self, near: &str, work: F) -> Result<R, Problem>
    where
        R: Send + 'static,
        F: for<'a> FnOnce(&'a Floors, Route) -> Task<'a, Result<R, Problem>> + Send + 'static,
    {
        let shard = self.api.parts.errands.shard_of(near);
        self.api.carry_out(shard, self.place.clone(), work).await?
    }

    /// The same for what concerns the channel that the path names.
    pub(super) fn in_channel<R, F>(&self, work: F) -> impl Future<Output = Result<R, Problem>>
    where
        R: Send + 'static,
        F: for<'a> FnOnce(&'a Floors, Route) -> Task<'a, Result<R, Problem>> + Send + 'static,
    {
        self.carry_out(self.named("channel"), work)
    }

    /// A list of the channel of this name, which the path has.
    pub(super) async fn list<R: Send + 'static>(
        &self,
        name: ChannelName,
        asked: impl FnOnce(u64) -> Asked + Send + 'static,
        list: fn(Reply) -> Option<R>,
    ) -> Result<R, Problem> {
        let listed = self.in_channel(move |floors, route| {
            Box::pin(async move {
                let channel = requests::channel(name, floors).await.map_err(channel_refused)?;
                let (from, asked) = (envelope(route, None, floors), asked(channel.number.get()));
                let reply = requests::handle(Actor::Service, from, asked, floors).await;
                list(reply.map_err(channel_refused)?).ok_or_else(|| refused(Refusal::Unknown))
            })
        });
        listed.await
    }
}

/// How many rows a page is to have, as the wire asks for them.
pub(super) fn rows(limit: Option<u64>) -> u32 {
    limit.map_or(0, |limit| u32::try_from(limit).unwrap_or(u32::MAX))
}

/// What stands beside an errand's request.
pub(super) fn envelope(route: Route, key: Option<Key>, floors: &Floors) -> Envelope {
    // What begins later than this is answered to nobody.
    let ms = limits::millis(limits::API_REQUEST_TIME_MAX);
    Envelope { route, key, deadline: Deadline::after(floors.clock.now(), ms), over: None }
}

/// A uid in `field`.
pub(super) fn uid(field: &str, text: &str) -> Result<Uid, Problem> {
    let detail = "a uid has 1 to 64 bytes of UTF-8 without control characters";
    Uid::parse(text).ok_or_else(|| Problem::invalid(field, detail))
}

/// Why not, towards a backend, to whom nothing is hidden.
pub(super) fn refused(refusal: Refusal) -> Problem {
    Problem::from(&refusal)
}

pub(super) fn no_channel() -> Problem {
    Problem::not_found("there is no such channel; PUT /v1/channels/{key} makes one")
}

/// The same where the channel itself was looked for.
pub(super) fn channel_refused(refusal: Refusal) -> Problem {
    match Problem::from(&refusal) {
        problem if problem.status == StatusCode::NOT_FOUND => no_channel(),
        problem => problem,
    }
}

/// The name that a request has, if it has one.
pub(super) fn name_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(name) = headers.get(NAME) else { return Ok(None) };
    let fits = |name: &&str| (1..=limits::API_REQUEST_NAME_BYTES_MAX).contains(&name.len());
    match name.to_str().ok().filter(fits) {
        Some(name) => Ok(Some(name.to_owned())),
        None => {
            let detail = "1 to 255 printable ASCII characters, different for each request";
            Err(Problem::invalid("Idempotency-Key", detail))
        }
    }
}

/// All of a body, if it is JSON and short and comes in time.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let read = axum::body::to_bytes(body, limits::API_BODY_BYTES_MAX);
    let read = tokio::time::timeout(limits::API_BODY_TIME_MAX, read);
    let read = read.await.map_err(|_| Problem::too_slow())?;
    let bytes = read.map_err(|error| {
        let error = error.into_inner();
        match error.downcast_ref::<http_body_util::LengthLimitError>() {
            Some(_) => Problem::too_long(),
            None => Problem::bad_json(format!("the body broke off: {error}")),
        }
    })?;
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let is_json = kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    if bytes.is_empty() || is_json { Ok(bytes) } else { Err(Problem::no_json()) }
}
