//! Who is kept out of a channel: keep out, let in again, list.

use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Asked;
use serde::{Deserialize, Serialize};

use super::ask::{Answer, Ask, rows};
use super::members::{self, Change};
use super::problem::Problem;
use crate::requests::Reply;

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
    let after = after.unwrap_or_default();
    let asked =
        move |channel| Asked::ListBans(wire::ListBans { channel, after, limit: rows(limit) });
    let listed = ask.list(name, asked, |reply| match reply {
        Reply::BanList(list) => Some(list),
        _ => None,
    });
    let wire::BanList { bans, end } = listed.await?;
    let bans = bans.into_iter().map(|wire::Ban { user, uid, until_ms }| Ban {
        user,
        uid,
        until_ms: (until_ms != 0).then_some(until_ms),
    });
    Answer::of(&Page { bans: bans.collect(), end })
}
