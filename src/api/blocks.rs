//! Who blocks whom: block, no longer block, list, each in a person's name.

use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Asked;
use serde::Serialize;

use super::ask::{Answer, Ask, envelope, refused, rows};
use super::members;
use super::people::nobody;
use super::problem::Problem;
use crate::model::rights::Actor;
use crate::requests::{self, Refusal, Reply};

#[derive(Serialize)]
struct Blocked {
    user: u64,
    uid: String,
}

#[derive(Serialize)]
struct Page {
    users: Vec<Blocked>,
    end: bool,
}

pub(super) async fn block(ask: Ask) -> Result<Answer, Problem> {
    change(ask, |user| Asked::Block(wire::Block { user })).await
}

pub(super) async fn unblock(ask: Ask) -> Result<Answer, Problem> {
    change(ask, |user| Asked::Unblock(wire::Unblock { user })).await
}

async fn change(ask: Ask, what: fn(u64) -> Asked) -> Result<Answer, Problem> {
    let (uid, other) = (ask.uid()?, ask.blocked()?);
    if uid == other {
        return Err(Problem::invalid("blocked", "nobody blocks themselves"));
    }
    let inner = ask.known_by().await?;
    let near = uid.clone();
    let changed = ask.carry_out(near.as_str(), move |floors, route| {
        Box::pin(async move {
            let person = requests::person(uid, floors).await.map_err(nobody)?.number;
            let other = requests::person(other, floors).await.map_err(nobody)?.number;
            let from = envelope(route, Some(inner), floors);
            let asked = what(other.get());
            let reply = requests::handle(Actor::User(person), from, asked, floors).await;
            members::done(reply).map_err(refused)
        })
    });
    Answer::of(&changed.await?)
}

pub(super) async fn list(ask: Ask) -> Result<Answer, Problem> {
    let uid = ask.uid()?;
    let [after, limit] = ask.numbers(["after", "limit"])?;
    let near = uid.clone();
    let listed = ask.carry_out(near.as_str(), move |floors, route| {
        Box::pin(async move {
            let person = requests::person(uid, floors).await.map_err(nobody)?.number;
            let asked = Asked::ListBlocks(wire::ListBlocks {
                after: after.unwrap_or_default(),
                limit: rows(limit),
            });
            let from = envelope(route, None, floors);
            match requests::handle(Actor::User(person), from, asked, floors).await {
                Ok(Reply::BlockList(list)) => Ok(list),
                Ok(_) => Err(refused(Refusal::Unknown)),
                Err(refusal) => Err(refused(refusal)),
            }
        })
    });
    let wire::BlockList { people, end } = listed.await?;
    let users = people.into_iter().map(|wire::Blocked { user, uid }| Blocked { user, uid });
    Answer::of(&Page { users: users.collect(), end })
}
