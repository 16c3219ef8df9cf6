//! Members: add, list, give a role, mute, remove.

use axum::http::StatusCode;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Asked;
use serde::{Deserialize, Serialize};

use super::ask::{Answer, Ask, channel_refused, envelope, rows};
use super::people;
use super::problem::Problem;
use crate::model::rights::{Actor, Role};
use crate::requests::{self, Refusal, Reply};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Add {
    uids: Option<Vec<String>>,
    role: Option<String>,
    history: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GiveRole {
    role: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mute {
    until_ms: Option<u64>,
}

#[derive(Serialize)]
struct Member {
    user: u64,
    uid: String,
    role: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    muted_until_ms: u64,
}

const fn is_zero(ms: &u64) -> bool {
    *ms == 0
}

#[derive(Serialize)]
struct Page {
    members: Vec<Member>,
    end: bool,
}

/// Where the channel stood when the change took effect; 0: nothing had to change.
#[derive(Serialize)]
pub(super) struct Done {
    seq: u64,
}

/// What is to become of one person in a channel. Times of day, milliseconds.
#[derive(Clone, Copy)]
pub(super) enum Change {
    Role(Role),
    /// Until then they write nothing; 0: they may again.
    Mute(u64),
    Remove,
    /// Until then they are kept out; 0: for ever.
    Ban(u64),
    LiftBan,
}

pub(super) async fn add(ask: Ask) -> Result<Answer, Problem> {
    let name = ask.channel()?;
    let Add { uids, role, history } = ask.json()?;
    let role = role.map(|role| role_of(&role)).transpose()?;
    if role == Some(Role::Owner) {
        let detail = "nobody comes in as owner: PUT .../members/{uid} gives that role";
        return Err(Problem::invalid("role", detail));
    }
    let mut request = wire::AddMembers {
        uids: uids.unwrap_or_default(),
        role: role.map_or(0, |role| role.to_wire().into()),
        history: history.unwrap_or(false),
        ..Default::default()
    };
    // Checked before the request's name is taken; the channel is not known yet.
    let max = ask.api.parts.limits.members_per_command;
    crate::model::draft::MembersDraft::check(&request, max)?;
    let inner = ask.known_by().await?;
    let added = ask.in_channel(move |floors, route| {
        Box::pin(async move {
            let channel = requests::channel(name, floors).await.map_err(channel_refused)?;
            request.channel = channel.number.get();
            let from = envelope(route, Some(inner), floors);
            let asked = Asked::AddMembers(request);
            let reply = requests::handle(Actor::Service, from, asked, floors).await;
            // The channel is there, so it is somebody else who is not.
            done(reply).map_err(|refusal| match Problem::from(&refusal) {
                problem if problem.status == StatusCode::NOT_FOUND => Problem::nobody("uids"),
                problem => problem,
            })
        })
    });
    Answer::of(&added.await?)
}

pub(super) async fn give_role(ask: Ask) -> Result<Answer, Problem> {
    let GiveRole { role } = ask.json()?;
    let role = role.ok_or_else(|| Problem::invalid("role", "role is missing"))?;
    let role = role_of(&role)?;
    change(ask, Change::Role(role)).await
}

pub(super) async fn remove(ask: Ask) -> Result<Answer, Problem> {
    change(ask, Change::Remove).await
}

pub(super) async fn mute(ask: Ask) -> Result<Answer, Problem> {
    let Mute { until_ms } = ask.json()?;
    let until_ms = until_ms.filter(|until_ms| *until_ms > 0).ok_or_else(|| {
        let detail = "until_ms is missing: a time in milliseconds since 1970; DELETE ends it";
        Problem::invalid("until_ms", detail)
    })?;
    change(ask, Change::Mute(until_ms)).await
}

pub(super) async fn unmute(ask: Ask) -> Result<Answer, Problem> {
    change(ask, Change::Mute(0)).await
}

pub(super) async fn change(ask: Ask, what: Change) -> Result<Answer, Problem> {
    let (name, uid) = (ask.channel()?, ask.uid()?);
    let inner = ask.known_by().await?;
    let changed = ask.in_channel(move |floors, route| {
        Box::pin(async move {
            let channel = requests::channel(name, floors).await.map_err(channel_refused)?;
            let channel = channel.number.get();
            let user = requests::person(uid, floors).await.map_err(people::nobody)?.number.get();
            let asked = match what {
                Change::Role(role) => {
                    let role = role.to_wire().into();
                    Asked::SetRole(wire::SetRole { channel, user, role })
                }
                Change::Mute(until_ms) => {
                    Asked::MuteMember(wire::MuteMember { channel, user, until_ms })
                }
                Change::Remove => Asked::RemoveMember(wire::RemoveMember { channel, user }),
                Change::Ban(until_ms) => {
                    Asked::BanMember(wire::BanMember { channel, user, until_ms })
                }
                Change::LiftBan => Asked::LiftBan(wire::LiftBan { channel, user }),
            };
            let from = envelope(route, Some(inner), floors);
            let reply = requests::handle(Actor::Service, from, asked, floors).await;
            done(reply).map_err(|refusal| match Problem::from(&refusal) {
                problem if problem.status == StatusCode::NOT_FOUND => {
                    Problem::not_found("this person is not in this channel")
                }
                problem => problem,
            })
        })
    });
    Answer::of(&changed.await?)
}

pub(super) async fn list(ask: Ask) -> Result<Answer, Problem> {
    let name = ask.channel()?;
    let [after, limit] = ask.numbers(["after", "limit"])?;
    let after = after.unwrap_or_default();
    let asked =
        move |channel| Asked::ListMembers(wire::ListMembers { channel, after, limit: rows(limit) });
    let listed = ask.list(name, asked, |reply| match reply {
        Reply::MemberList(list) => Some(list),
        _ => None,
    });
    let wire::MemberList { members, end } = listed.await?;
    let members = members.into_iter().map(|member| Member {
        role: Role::from_wire(member.role).map_or("unknown", name_of),
        user: member.user,
        uid: member.uid,
        muted_until_ms: member.muted_until_ms,
    });
    Answer::of(&Page { members: members.collect(), end })
}

pub(super) fn done(reply: Result<Reply, Refusal>) -> Result<Done, Refusal> {
    match reply? {
        Reply::Done(wire::Done { seq }) => Ok(Done { seq }),
        _ => Err(Refusal::Unknown),
    }
}

fn role_of(name: &str) -> Result<Role, Problem> {
    let found = Role::ALL.into_iter().find(|role| name_of(*role) == name);
    found.ok_or_else(|| Problem::invalid("role", "role is owner, moderator, member or reader"))
}

const fn name_of(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Moderator => "moderator",
        Role::Member => "member",
        Role::Reader => "reader",
    }
}
