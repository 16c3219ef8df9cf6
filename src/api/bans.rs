//! Who is kept out of a channel: keep out, let in again, list.

use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Asked;
use serde::{Deserialize, Serialize};

use super::ask::{Answer, Ask, channel_refused, envelope, refused};
use super::members::{self, Change};
use super::problem::Problem;
use crate::model::rights::Actor;
use crate::requests::{self, Refusal, Reply};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeepOut {
    until_ms: Option<u64>,
}

#[derive(Serialize)]
struct Ban {
    user: u64,
    uid: String,
    /// `None`: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    until_ms: Option<u64>,
}

#[derive(Serialize)]
struct Page {
    bans: Vec<Ban>,
    end: bool,
}

pub(super) async fn keep_out(ask: Ask) -> Result<Answer, Problem> {
    let KeepOut { until_ms } = ask.json()?;
    members::change(ask, Change::Ban(until_ms.unwrap_or_default())).await
}

pub(super) async fn lift(ask: Ask) -> Result<Answer, Problem> {
    members::change(ask, Change::LiftBan).await
}

pub(super) async fn list(ask: Ask) -> Result<Answer, Problem> {
    let name = ask.channel()?;
    let [after, limit] = ask.numbers(["after", "limit"])?;
    let listed = ask.in_channel(move |floors, route| {
        Box::pin(async move {
            let channel = requests::channel(name, floors).await.map_err(channel_refused)?;
            let request = wire::ListBans {
                channel: channel.number.get(),
                after: after.unwrap_or_default(),
                limit: limit.map_or(0, |limit| u32::try_from(limit).unwrap_or(u32::MAX)),
            };
            let from = envelope(route, None, floors);
            match requests::handle(Actor::Service, from, Asked::ListBans(request), floors).await {
                Ok(Reply::BanList(list)) => Ok(list),
                Ok(_) => Err(refused(Refusal::Unknown)),
                Err(refusal) => Err(channel_refused(refusal)),
            }
        })
    });
    let wire::BanList { bans, end } = listed.await?;
    let bans = bans.into_iter().map(|wire::Ban { user, uid, until_ms }| Ban {
        user,
        uid,
        until_ms: (until_ms != 0).then_some(until_ms),
    });
    Answer::of(&Page { bans: bans.collect(), end })
}
