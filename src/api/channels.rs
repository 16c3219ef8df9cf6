//! Channels: make, find, change.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use damso_proto::id::Uid;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Asked;
use serde::{Deserialize, Serialize};

use super::ask::{Answer, Ask, channel_refused, envelope, refused, uid};
use super::members;
use super::problem::Problem;
use crate::model::draft::{ChannelDraft, Invalid};
use crate::model::naming::{ChannelKey, CustomMap};
use crate::model::rights::{Actor, Kind};
use crate::model::update::UpdateDraft;
use crate::requests::{self, ByBackend, ChannelName, Established};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Make {
    kind: Option<String>,
    name: Option<String>,
    owner: Option<String>,
    members: Option<Vec<String>>,
    custom: Option<BTreeMap<String, String>>,
}

/// What is left out stays as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    name: Option<String>,
    custom: Option<BTreeMap<String, String>>,
}

#[derive(Serialize)]
struct Channel {
    channel: u64,
    kind: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    members: u64,
    head: u64,
    version: u64,
    custom: BTreeMap<String, String>,
}

impl From<requests::Channel> for Channel {
    fn from(channel: requests::Channel) -> Self {
        let requests::Channel { number, heading, head } = channel;
        Self {
            channel: number.get(),
            kind: name_of(heading.kind),
            name: heading.name,
            key: heading.key.map(|key| key.as_str().to_owned()),
            members: heading.members,
            head: head.seq.get(),
            version: heading.version,
            custom: heading.custom.into_entries(),
        }
    }
}

const fn name_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Direct => "direct",
        Kind::Group => "group",
        Kind::Personal => "self",
        Kind::Broadcast => "broadcast",
    }
}

/// What is to be made.
enum New {
    Direct([Uid; 2]),
    Other(ChannelDraft, ByBackend),
}

pub(super) async fn make_by_key(ask: Ask) -> Result<Answer, Problem> {
    let key = ask.key()?;
    make(ask, Some(key)).await
}

pub(super) async fn make_any(ask: Ask) -> Result<Answer, Problem> {
    make(ask, None).await
}

async fn make(ask: Ask, key: Option<ChannelKey>) -> Result<Answer, Problem> {
    let near = key.as_ref().map(|key| key.as_str().to_owned());
    let members_max = ask.api.parts.limits.members_per_command;
    let new = check(ask.json()?, key, members_max)?;
    let inner = ask.known_by().await?;
    let near = near.unwrap_or_else(|| format!("{inner:?}"));
    let made = ask.carry_out(&near, move |floors, route| {
        Box::pin(async move {
            let from = envelope(route, Some(inner), floors);
            let made = match new {
                New::Direct(people) => requests::establish_direct(from, people, floors).await,
                New::Other(draft, more) => requests::establish(from, draft, more, floors).await,
            };
            let Established { channel, is_new } = made.map_err(nobody)?;
            let channel = requests::channel(ChannelName::Number(channel), floors).await;
            Ok((channel.map_err(channel_refused)?, is_new))
        })
    });
    let (channel, is_new) = made.await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Answer::with(status, &Channel::from(channel))
}

pub(super) async fn find(ask: Ask) -> Result<Answer, Problem> {
    let name = ask.channel()?;
    let found = ask.in_channel(move |floors, _| {
        Box::pin(async move { requests::channel(name, floors).await.map_err(channel_refused) })
    });
    Answer::of(&Channel::from(found.await?))
}

pub(super) async fn change(ask: Ask) -> Result<Answer, Problem> {
    let which = ask.channel()?;
    let Change { name, custom } = ask.json()?;
    let custom = custom.map(|entries| wire::CustomMap { entries });
    let mut request = wire::UpdateChannel { name, custom, ..Default::default() };
    // Checked before the request's name is taken; the channel is not known yet.
    UpdateDraft::check(request.clone())?;
    let inner = ask.known_by().await?;
    let changed = ask.in_channel(move |floors, route| {
        Box::pin(async move {
            let channel = requests::channel(which, floors).await.map_err(channel_refused)?;
            request.channel = channel.number.get();
            let from = envelope(route, Some(inner), floors);
            let asked = Asked::UpdateChannel(request);
            let reply = requests::handle(Actor::Service, from, asked, floors).await;
            members::done(reply).map_err(refused)
        })
    });
    Answer::of(&changed.await?)
}

fn check(asked: Make, key: Option<ChannelKey>, members_max: usize) -> Result<New, Problem> {
    let Make { kind, name, owner, members, custom } = asked;
    let members = members.unwrap_or_default();
    let kind = match kind.as_deref() {
        None | Some("group") => Kind::Group,
        Some("broadcast") => Kind::Broadcast,
        Some("direct") if key.is_none() => Kind::Direct,
        Some("direct") => {
            let detail = "a direct channel is known by its two people: POST /v1/channels";
            return Err(Problem::invalid("kind", detail));
        }
        Some(_) => {
            return Err(Problem::invalid("kind", "kind is group, broadcast or direct"));
        }
    };
    if kind == Kind::Direct {
        for (field, is_there) in
            [("name", name.is_some()), ("owner", owner.is_some()), ("custom", custom.is_some())]
        {
            if is_there {
                return Err(Problem::invalid(field, format!("a direct channel has no {field}")));
            }
        }
        let people: Result<[String; 2], _> = members.try_into();
        let [one, other] =
            people.map_err(|_| Problem::invalid("members", "a direct channel has two people"))?;
        if one == other {
            return Err(Problem::invalid("members", "a direct channel needs another person"));
        }
        return Ok(New::Direct([uid("members", &one)?, uid("members", &other)?]));
    }
    let name = name.ok_or(Invalid::Missing { field: "name" })?;
    let wire_kind = kind.to_wire().into();
    let request = wire::CreateChannel { kind: wire_kind, name, uids: members };
    let draft = ChannelDraft::check(&request, members_max).map_err(|invalid| {
        match invalid.field() {
            // What the wire calls `uids` are members here.
            "uids" => Problem::from(invalid).at("members"),
            _ => invalid.into(),
        }
    })?;
    let owner = owner.map(|owner| uid("owner", &owner)).transpose()?;
    let custom = CustomMap::check(custom.unwrap_or_default())?;
    Ok(New::Other(draft, ByBackend { key, custom, owner }))
}

/// Somebody who is to be in it is not there.
fn nobody(refusal: requests::Refusal) -> Problem {
    match Problem::from(&refusal) {
        problem if problem.status == StatusCode::NOT_FOUND => Problem::nobody("members"),
        problem => problem,
    }
}
