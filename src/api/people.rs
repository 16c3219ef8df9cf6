//! People: make, find, tokens.

use std::collections::BTreeMap;
use std::time::Duration;

use damso_proto::id::Uid;
use serde::{Deserialize, Serialize};

use super::ask::{Answer, Ask, refused};
use super::problem::Problem;
use crate::model::limits;
use crate::model::naming::CustomMap;
use crate::requests;
use crate::store::directory::User;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Make {
    custom: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GiveToken {
    hours: Option<u64>,
}

#[derive(Serialize)]
struct Person {
    user: u64,
    uid: String,
    custom: BTreeMap<String, String>,
}

impl From<User> for Person {
    fn from(user: User) -> Self {
        let User { number, uid, custom } = user;
        Self { user: number.get(), uid: uid.as_str().to_owned(), custom: custom.into_entries() }
    }
}

pub(super) async fn make(ask: Ask) -> Result<Answer, Problem> {
    let uid = ask.uid()?;
    let Make { custom } = ask.json()?;
    let custom = custom.map(CustomMap::check).transpose()?;
    // Making and noting twice is the same as once: the name only tells one request from another.
    ask.known_by().await?;
    let near = uid.clone();
    let made = ask.carry_out(near.as_str(), move |floors, _| {
        Box::pin(async move { requests::make_person(uid, custom, floors).await.map_err(refused) })
    });
    Answer::of(&Person::from(made.await?))
}

pub(super) async fn find(ask: Ask) -> Result<Answer, Problem> {
    Answer::of(&Person::from(found(&ask, ask.uid()?).await?))
}

pub(super) async fn give_token(ask: Ask) -> Result<Answer, Problem> {
    let uid = ask.uid()?;
    let GiveToken { hours } = ask.json()?;
    let hours = hours.unwrap_or(limits::API_TOKEN_HOURS);
    let max = limits::API_TOKEN_HOURS_MAX;
    if !(1..=max).contains(&hours) {
        return Err(Problem::invalid("hours", format!("hours are 1 to {max}")));
    }
    found(&ask, uid.clone()).await?;
    let good_for = Duration::from_hours(hours);
    let issued = ask.api.parts.tokens.issue(&uid, good_for).ok_or_else(Problem::no_issuer)?;
    Answer::of(&issued)
}

async fn found(ask: &Ask, uid: Uid) -> Result<User, Problem> {
    let near = uid.clone();
    ask.carry_out(near.as_str(), move |floors, _| {
        Box::pin(async move { requests::person(uid, floors).await.map_err(nobody) })
    })
    .await
}

/// A person in the path who is not there.
pub(super) fn nobody(refusal: requests::Refusal) -> Problem {
    match Problem::from(&refusal) {
        problem if problem.status == axum::http::StatusCode::NOT_FOUND => {
            Problem::not_found("there is no such person; PUT /v1/users/{uid} makes them")
        }
        problem => problem,
    }
}
