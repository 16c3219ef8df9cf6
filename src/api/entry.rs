//! The place of all: how many ask at a time, who it is, and whether they may.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use axum::http::{HeaderMap, header};
use damso_proto::id::Key;
use damso_proto::time::Moment;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::errand::{Errand, Errands, Task};
use super::problem::Problem;
use super::secret;
use super::tokens::Tokens;
use crate::model::limits::{self, Limits};
use crate::model::scope::Scope;
use crate::requests::{Floors, Revoker};
use crate::runtime::clock::Clock;
use crate::runtime::door::Door;
use crate::runtime::random::Random;
use crate::runtime::route::{Route, ShardNo};
use crate::store::directory::{AskedAs, ServiceKey, ServiceKeyId, ServiceKeys};

/// What the API is given to work with.
pub struct Parts {
    /// The way to the shards.
    pub errands: Errands,
    /// Where keys of backends are kept.
    pub keys: Arc<dyn ServiceKeys>,
    /// Where blocking work goes.
    pub door: Door,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// For keys of requests that have no name.
    pub random: Arc<dyn Random>,
    /// Who issues tokens.
    pub tokens: Arc<dyn Tokens>,
    /// Who ends them.
    pub revoker: Revoker,
    /// What may be asked, and how much.
    pub limits: Limits,
    /// Live connections of people.
    pub connections: Arc<AtomicUsize>,
    /// The server's own version.
    pub version: &'static str,
}

/// See the module's text.
pub struct Api {
    pub(super) parts: Parts,
    pub(super) began: Moment,
    places: Arc<Semaphore>,
}

/// A request's place: given back when nothing is done for it any more.
pub(super) type Place = Arc<OwnedSemaphorePermit>;

impl Api {
    /// An API that nobody has asked yet.
    pub fn new(parts: Parts) -> Self {
        let began = parts.clock.now();
        Self { parts, began, places: Arc::new(Semaphore::new(limits::API_REQUESTS_MAX)) }
    }

    /// A place for a request.
    pub(super) fn place(&self) -> Result<Place, Problem> {
        self.places.clone().try_acquire_owned().map(Arc::new).map_err(|_| {
            metrics::counter!("damso_api_refused_total", "reason" => "full").increment(1);
            Problem::overloaded("as many requests as may be are being carried out")
        })
    }

    /// Whose key came with a request, if it is good for `scope`.
    pub(super) async fn enter(
        &self,
        headers: &HeaderMap,
        scope: Scope,
    ) -> Result<ServiceKeyId, Problem> {
        let key = self.key_of(headers).await.inspect_err(|problem| {
            let reason = if problem.status.is_client_error() { "key" } else { "directory" };
            metrics::counter!("damso_api_refused_total", "reason" => reason).increment(1);
        })?;
        if !key.scopes.allow(scope) {
            metrics::counter!("damso_api_refused_total", "reason" => "scope").increment(1);
            return Err(Problem::no_scope(scope));
        }
        Ok(key.id)
    }

    async fn key_of(&self, headers: &HeaderMap) -> Result<ServiceKey, Problem> {
        let told = headers.get(header::AUTHORIZATION).ok_or_else(|| {
            Problem::no_key(
                "a key is missing: `damso key create my-backend --scope all` prints one, \
                 send it as `Authorization: Bearer dsk_...`",
            )
        })?;
        // One text for all of it: what is wrong with a secret is nobody's business.
        let unknown = || {
            Problem::no_key(
                "this is no key of this server, or it was revoked: `damso key list` shows those \
                 there are",
            )
        };
        let bearer = told.to_str().ok().and_then(|told| told.split_once(' '));
        let text = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let (id, secret) =
            text.and_then(|(_, text)| secret::parse(text.trim())).ok_or_else(unknown)?;
        let keys = self.parts.keys.clone();
        let found = self.behind_door(move || keys.service_key(id)).await??;
        found.filter(|key| key.revoked_ms.is_none() && secret.is(&key.secret)).ok_or_else(unknown)
    }

    /// What a request is known by inside: a key of its own, or that of its name's first time.
    pub(super) async fn known_by(&self, asked: Option<AskedAs>) -> Result<Key, Problem> {
        let mut random = [0; 10];
        self.parts.random.fill(&mut random);
        let fresh = Key::new(self.parts.clock.unix_ms(), random);
        let Some(asked) = asked else { return Ok(fresh) };
        let keys = self.parts.keys.clone();
        self.behind_door(move || keys.known_by(&asked, fresh)).await?
    }

    /// Has `work` done on `shard`; it holds the request's place until it is done, whether or not
    /// somebody still waits for it.
    pub(super) async fn carry_out<R, F>(
        &self,
        shard: ShardNo,
        place: Place,
        work: F,
    ) -> Result<R, Problem>
    where
        R: Send + 'static,
        F: for<'a> FnOnce(&'a Floors, Route) -> Task<'a, R> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let errand: Errand = Box::new(move |floors, route| {
            let task = work(floors, route);
            Box::pin(async move {
                let done = task.await;
                drop(place);
                // Nobody may be waiting any more, and that is all right.
                drop(answer.send(done));
            })
        });
        if !self.parts.errands.send(shard, errand) {
            metrics::counter!("damso_api_refused_total", "reason" => "queue").increment(1);
            return Err(Problem::overloaded("too much is waiting"));
        }
        // A shard that ends drops what it has begun.
        answered.await.map_err(|_| Problem::unknown_outcome())
    }

    async fn behind_door<T: Send + 'static, E: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<Result<T, Problem>, Problem>
    where
        Problem: for<'a> From<&'a E>,
    {
        let called = self.parts.door.call(job).await;
        let done = called.map_err(|error| {
            tracing::warn!(%error, "blocking work of the API was turned away");
            Problem::overloaded("too much is waiting")
        })?;
        Ok(done.map_err(|error| Problem::from(&error)))
    }
}
