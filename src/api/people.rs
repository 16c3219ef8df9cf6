//! People: make, find, tokens and their end.

use std::collections::BTreeMap;
use std::time::Duration;

use damso_proto::id::Uid;
use serde::{Deserialize, Serialize};

use super::ask::{Answer, Ask, envelope, refused};
use super::problem::Problem;
use crate::model::device::DeviceId;
use crate::model::limits;
use crate::model::naming::CustomMap;
use crate::requests::{self, RevokeError, Revoked};
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
    let inner = ask.known_by().await?;
    let near = uid.clone();
    let made = ask.carry_out(near.as_str(), move |floors, route| {
        Box::pin(async move {
            let from = envelope(route, Some(inner), floors);
            requests::make_person(from, uid, custom, floors).await.map_err(refused)
        })
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

/// How many sessions ended.
#[derive(Serialize)]
struct Ended {
    sessions: usize,
}

pub(super) async fn revoke_tokens(ask: Ask) -> Result<Answer, Problem> {
    revoke(ask, None).await
}

pub(super) async fn revoke_device(ask: Ask) -> Result<Answer, Problem> {
    let device = ask.device()?;
    revoke(ask, Some(device)).await
}

async fn revoke(ask: Ask, device: Option<DeviceId>) -> Result<Answer, Problem> {
    let uid = ask.uid()?;
    // Asked again under its name, it revokes what was issued until the first time.
    let time_ms = ask.known_by().await?.unix_ms();
    let (near, revoker) = (uid.clone(), ask.api.parts.revoker.clone());
    // On a shard, where it is finished though nobody waits any more: a token that is refused while
    // its session lives on would be half a revocation.
    let revoked = ask.carry_out(near.as_str(), move |_, _| {
        Box::pin(
            async move { revoker.revoke_as_of(time_ms, uid, device).await.map_err(not_revoked) },
        )
    });
    let Revoked { sessions } = revoked.await?;
    Answer::of(&Ended { sessions })
}

fn not_revoked(error: RevokeError) -> Problem {
    match error {
        RevokeError::NoPerson(_) => Problem::no_person(),
        RevokeError::Busy => Problem::overloaded("too much is waiting"),
        RevokeError::Directory(_) | RevokeError::Unconfirmed => {
            tracing::warn!(%error, "a revocation of the API is not known to stand");
            Problem::unknown_outcome()
        }
    }
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
        problem if problem.status == axum::http::StatusCode::NOT_FOUND => Problem::no_person(),
        problem => problem,
    }
}
