//! Every path and method, and what a request goes through before it is carried out.

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::{MethodFilter, on};

use super::ask::{self, Answer, Ask};
use super::entry::{Api, Place};
use super::problem::Problem;
use super::{bans, blocks, channels, members, messages, openapi, people, stats};
use crate::model::limits;
use crate::model::scope::Scope;

type Answering = Pin<Box<dyn Future<Output = Result<Answer, Problem>> + Send>>;

/// A path with a method.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) path: &'static str,
    /// What a key must be good for. `None`: anybody may ask.
    pub(super) scope: Option<Scope>,
    answer: fn(Ask) -> Answering,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Method {
    Get,
    Put,
    Post,
    Patch,
    Delete,
}

impl Method {
    const fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Put => MethodFilter::PUT,
            Self::Post => MethodFilter::POST,
            Self::Patch => MethodFilter::PATCH,
            Self::Delete => MethodFilter::DELETE,
        }
    }

    /// As a description has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Post => "post",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

const fn route(
    method: Method,
    path: &'static str,
    scope: Scope,
    answer: fn(Ask) -> Answering,
) -> Route {
    Route { method, path, scope: Some(scope), answer }
}

const USER: &str = "/v1/users/{uid}";
const TOKENS: &str = "/v1/users/{uid}/tokens";
const DEVICE: &str = "/v1/users/{uid}/devices/{device}";
const BLOCKS: &str = "/v1/users/{uid}/blocks";
const BLOCK: &str = "/v1/users/{uid}/blocks/{blocked}";
const CHANNEL: &str = "/v1/channels/{channel}";
const MEMBERS: &str = "/v1/channels/{channel}/members";
const MEMBER: &str = "/v1/channels/{channel}/members/{uid}";
const MUTE: &str = "/v1/channels/{channel}/members/{uid}/mute";
const BANS: &str = "/v1/channels/{channel}/bans";
const BAN: &str = "/v1/channels/{channel}/bans/{uid}";
const MESSAGES: &str = "/v1/channels/{channel}/messages";

/// Every one.
pub(super) static ROUTES: [Route; 25] = [
    route(Method::Put, USER, Scope::Users, |ask| Box::pin(people::make(ask))),
    route(Method::Get, USER, Scope::Read, |ask| Box::pin(people::find(ask))),
    route(Method::Post, TOKENS, Scope::Users, |ask| Box::pin(people::give_token(ask))),
    route(Method::Delete, TOKENS, Scope::Users, |ask| Box::pin(people::revoke_tokens(ask))),
    route(Method::Delete, DEVICE, Scope::Users, |ask| Box::pin(people::revoke_device(ask))),
    route(Method::Get, BLOCKS, Scope::Read, |ask| Box::pin(blocks::list(ask))),
    route(Method::Put, BLOCK, Scope::Users, |ask| Box::pin(blocks::block(ask))),
    route(Method::Delete, BLOCK, Scope::Users, |ask| Box::pin(blocks::unblock(ask))),
    route(Method::Post, "/v1/channels", Scope::Channels, |ask| Box::pin(channels::make_any(ask))),
    route(Method::Put, CHANNEL, Scope::Channels, |ask| Box::pin(channels::make_by_key(ask))),
    route(Method::Patch, CHANNEL, Scope::Channels, |ask| Box::pin(channels::change(ask))),
    route(Method::Get, CHANNEL, Scope::Read, |ask| Box::pin(channels::find(ask))),
    route(Method::Get, MEMBERS, Scope::Read, |ask| Box::pin(members::list(ask))),
    route(Method::Post, MEMBERS, Scope::Channels, |ask| Box::pin(members::add(ask))),
    route(Method::Put, MEMBER, Scope::Channels, |ask| Box::pin(members::give_role(ask))),
    route(Method::Delete, MEMBER, Scope::Channels, |ask| Box::pin(members::remove(ask))),
    route(Method::Put, MUTE, Scope::Channels, |ask| Box::pin(members::mute(ask))),
    route(Method::Delete, MUTE, Scope::Channels, |ask| Box::pin(members::unmute(ask))),
    route(Method::Get, BANS, Scope::Read, |ask| Box::pin(bans::list(ask))),
    route(Method::Put, BAN, Scope::Channels, |ask| Box::pin(bans::keep_out(ask))),
    route(Method::Delete, BAN, Scope::Channels, |ask| Box::pin(bans::lift(ask))),
    route(Method::Get, MESSAGES, Scope::Read, |ask| Box::pin(messages::list(ask))),
    route(Method::Post, MESSAGES, Scope::Messages, |ask| Box::pin(messages::send(ask))),
    route(Method::Get, "/v1/stats", Scope::Stats, |ask| Box::pin(stats::now(ask))),
    Route {
        method: Method::Get,
        path: "/v1/openapi.json",
        scope: None,
        answer: |_| Box::pin(openapi::description()),
    },
];

/// The API as a service of its own.
pub fn router(api: Arc<Api>) -> Router {
    let routes = ROUTES.iter().fold(Router::new(), |routes, route| {
        let answer = move |State(api): State<Arc<Api>>,
                           names: Result<RawPathParams, _>,
                           request: Request| async move {
            // A name that is no text names nothing.
            let names = names.ok().map(|names| {
                names.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
            });
            let method = route.method.name();
            let response = match names {
                Some(names) => match in_time(api, route, names, request).await {
                    Ok(answer) => answer.into_response(),
                    Err(problem) => problem.into_response(),
                },
                None => Problem::no_path().into_response(),
            };
            count(method, route.path, response.status());
            response
        };
        routes.route(route.path, on(route.method.filter(), answer))
    });
    let no_path = || async {
        count("any", "unknown", StatusCode::NOT_FOUND);
        Problem::no_path()
    };
    let no_method = || async {
        count("any", "unknown", StatusCode::METHOD_NOT_ALLOWED);
        Problem::no_method()
    };
    routes.fallback(no_path).method_not_allowed_fallback(no_method).with_state(api)
}

fn count(method: &'static str, path: &'static str, status: StatusCode) {
    let status = match status.as_u16() {
        200..300 => "2xx",
        400..500 => "4xx",
        _ => "5xx",
    };
    let labels = [("method", method), ("path", path), ("status", status)];
    metrics::counter!("damso_api_requests_total", &labels).increment(1);
}

/// Answers, if not with what was asked for, then with why it takes too long.
async fn in_time(
    api: Arc<Api>,
    route: &'static Route,
    names: Vec<(String, String)>,
    request: Request,
) -> Result<Answer, Problem> {
    let place = api.place()?;
    let answer = answer(api, place, route, names, request);
    match tokio::time::timeout(limits::API_REQUEST_TIME_MAX, answer).await {
        Ok(answer) => answer,
        Err(_) if route.method == Method::Get => {
            Err(Problem::overloaded("the answer did not come in time"))
        }
        Err(_) => Err(Problem::unknown_outcome()),
    }
}

async fn answer(
    api: Arc<Api>,
    place: Place,
    route: &'static Route,
    names: Vec<(String, String)>,
    request: Request,
) -> Result<Answer, Problem> {
    let (head, body) = request.into_parts();
    // Before the body: a stranger's is not read.
    let by = match route.scope {
        Some(scope) => Some(api.enter(&head.headers, scope).await?),
        None => None,
    };
    let (name, body) = match route.method {
        // Neither means anything here.
        Method::Get => (None, Default::default()),
        _ => (ask::name_of(&head.headers)?, ask::read(&head.headers, body).await?),
    };
    let query = head.uri.query().unwrap_or_default().to_owned();
    if route.method != Method::Get && !query.is_empty() {
        return Err(Problem::invalid("query", "only GET takes parameters in the query"));
    }
    let what = format!("{} {}", route.method.name(), head.uri.path());
    (route.answer)(Ask { api, place, what, names, query, body, by, name }).await
}
