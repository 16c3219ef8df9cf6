//! Messages: send as the service or as a person, read.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;
use base64::prelude::{BASE64_STANDARD as BASE64, Engine as _};
use damso_proto::id::MessageId;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Asked;
use damso_proto::wire::{EventFlag, EventKind};
use serde::{Deserialize, Serialize};

use super::ask::{Answer, Ask, channel_refused, envelope, refused, rows, uid};
use super::problem::Problem;
use crate::delivery;
use crate::model::draft::Draft;
use crate::model::limits;
use crate::model::rights::Actor;
use crate::requests::{self, Floors, Refusal, Reply};
use crate::runtime::route::Route;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Send {
    text: Option<String>,
    custom: Option<Custom>,
    r#as: Option<String>,
    silent: Option<bool>,
    uncounted: Option<bool>,
    reply_to: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Custom {
    r#type: String,
    body_base64: String,
}

#[derive(Serialize)]
struct Sent {
    seq: u64,
    id: String,
    time_ms: u64,
    duplicate: bool,
}

#[derive(Serialize)]
struct Page {
    messages: Vec<Message>,
    from: u64,
    to: u64,
    head: u64,
    floor: u64,
}

#[derive(Serialize)]
struct Message {
    seq: u64,
    id: String,
    time_ms: u64,
    kind: &'static str,
    /// `None`: the service, or the server itself.
    sender: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    custom: Option<Custom>,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_to: Option<u64>,
    silent: bool,
    uncounted: bool,
}

pub(super) async fn send(ask: Ask) -> Result<Answer, Problem> {
    let name = ask.channel()?;
    let (mut message, author) = check(ask.json()?)?;
    let inner = ask.known_by().await?;
    let sent = ask.in_channel(move |floors, route| {
        Box::pin(async move {
            let channel = requests::channel(name, floors).await.map_err(channel_refused)?;
            message.channel = channel.number.get();
            let actor = match author {
                None => Actor::Service,
                Some(uid) => {
                    let person = requests::person(uid, floors).await;
                    Actor::User(person.map_err(no_author)?.number)
                }
            };
            let from = envelope(route, Some(inner), floors);
            let sent = requests::send_and_wait(actor, from, message, floors).await;
            sent.map_err(|refusal| match Problem::from(&refusal) {
                // The channel is there: it is the author who is not in it.
                problem if problem.status == StatusCode::NOT_FOUND => Problem::no_writer(),
                problem => problem,
            })
        })
    });
    match sent.await? {
        delivery::Answer::Sent { seq, id, duplicate, .. } => Answer::of(&Sent {
            seq: seq.get(),
            id: id.get().to_string(),
            time_ms: id.unix_ms(),
            duplicate,
        }),
        delivery::Answer::Done(_) => Err(refused(Refusal::Unknown)),
    }
}

pub(super) async fn list(ask: Ask) -> Result<Answer, Problem> {
    use wire::read_history::Direction;

    let name = ask.channel()?;
    let [before, after, limit] = ask.numbers(["before", "after", "limit"])?;
    let (direction, seq) = match (before, after) {
        (Some(_), Some(_)) => {
            return Err(Problem::invalid("after", "before or after, not both"));
        }
        (before, None) => (Direction::Before, before.unwrap_or_default()),
        (None, Some(after)) => (Direction::After, after),
    };
    let rows = rows(limit);
    let page = ask.in_channel(move |floors, route| {
        Box::pin(async move {
            let channel = requests::channel(name, floors).await.map_err(channel_refused)?;
            let channel = channel.number.get();
            let direction = direction.into();
            let asked = Asked::ReadHistory(wire::ReadHistory { channel, seq, direction, rows });
            let from = envelope(route, None, floors);
            let page = match requests::handle(Actor::Service, from, asked, floors).await {
                Ok(Reply::Page(page)) => page,
                Ok(_) => return Err(refused(Refusal::Unknown)),
                Err(refusal) => return Err(channel_refused(refusal)),
            };
            let uids = authors(&page, route, floors).await?;
            Ok((page, uids))
        })
    });
    let (page, uids) = page.await?;
    let wire::Page { rows, from, to, as_of, floor, .. } = page;
    let events = rows.into_iter().filter_map(|row| row.event);
    let messages = events.map(|event| shown(event, &uids)).collect();
    Answer::of(&Page { messages, from, to, head: as_of, floor })
}

/// The uids of everybody who wrote something on a page.
async fn authors(
    page: &wire::Page,
    route: Route,
    floors: &Floors,
) -> Result<BTreeMap<u64, String>, Problem> {
    let senders = page.rows.iter().filter_map(|row| Some(row.event.as_ref()?.sender));
    let senders: BTreeSet<_> = senders.filter(|sender| *sender != 0).collect();
    let senders: Vec<_> = senders.into_iter().collect();
    let mut uids = BTreeMap::new();
    for some in senders.chunks(limits::PEOPLE_PER_LOOKUP_MAX) {
        let asked = wire::FindPeople { users: some.to_vec(), uids: Vec::new() };
        let from = envelope(route, None, floors);
        match requests::handle(Actor::Service, from, Asked::FindPeople(asked), floors).await {
            Ok(Reply::People(wire::People { people })) => {
                uids.extend(people.into_iter().map(|person| (person.user, person.uid)));
            }
            Ok(_) => return Err(refused(Refusal::Unknown)),
            Err(refusal) => return Err(refused(refusal)),
        }
    }
    Ok(uids)
}

fn check(asked: Send) -> Result<(wire::Send, Option<damso_proto::id::Uid>), Problem> {
    use wire::send::Content;

    let Send { text, custom, r#as, silent, uncounted, reply_to } = asked;
    let content = match (text, custom) {
        (Some(text), None) => Content::Text(text),
        (None, Some(Custom { r#type, body_base64 })) => {
            let body = BASE64.decode(body_base64).map_err(|error| {
                let detail = format!("not base64 (RFC 4648, with padding): {error}");
                Problem::invalid("custom.body_base64", detail)
            })?;
            Content::Custom(wire::Custom { r#type, body: body.into() })
        }
        (None, None) => return Err(Problem::invalid("text", "text or custom is missing")),
        (Some(_), Some(_)) => {
            return Err(Problem::invalid("custom", "text or custom, not both"));
        }
    };
    let flag = |is_set: Option<bool>, flag: EventFlag| match is_set {
        Some(true) => flag as u32,
        _ => 0,
    };
    let flags = flag(silent, EventFlag::Silent) | flag(uncounted, EventFlag::Uncounted);
    let author = r#as.map(|author| uid("as", &author)).transpose()?;
    let mut send = wire::Send {
        // Any will do for the check; the real one is not known yet.
        channel: u64::MAX,
        flags,
        reply_to: reply_to.unwrap_or_default(),
        content: Some(content),
    };
    Draft::check(send.clone())?;
    send.channel = 0;
    Ok((send, author))
}

fn no_author(refusal: Refusal) -> Problem {
    match Problem::from(&refusal) {
        problem if problem.status == StatusCode::NOT_FOUND => Problem::nobody("as"),
        problem => problem,
    }
}

fn shown(event: wire::Event, uids: &BTreeMap<u64, String>) -> Message {
    use wire::event::Content;

    let kind = match event.kind() {
        EventKind::Message => "message",
        EventKind::System => "system",
        EventKind::Personal => "personal",
    };
    let has = |flag: EventFlag| event.flags & flag as u32 != 0;
    let (silent, uncounted) = (has(EventFlag::Silent), has(EventFlag::Uncounted));
    let (mut text, mut custom, mut system) = (None, None, None);
    match event.content {
        None => {}
        Some(Content::Text(said)) => text = Some(said),
        Some(Content::Custom(wire::Custom { r#type, body })) => {
            custom = Some(Custom { r#type, body_base64: BASE64.encode(body) });
        }
        Some(Content::System(wire::System { what })) => system = what.as_ref().map(name_of),
    }
    Message {
        seq: event.seq,
        id: event.id.to_string(),
        time_ms: MessageId::new(event.id).unix_ms(),
        kind,
        sender: uids.get(&event.sender).cloned(),
        text,
        custom,
        system,
        reply_to: (event.reply_to != 0).then_some(event.reply_to),
        silent,
        uncounted,
    }
}

const fn name_of(what: &wire::system::What) -> &'static str {
    use wire::system::What;
    match what {
        What::Created(_) => "created",
        What::MembersAdded(_) => "members_added",
        What::MemberRemoved(_) => "member_removed",
        What::MemberLeft(_) => "member_left",
        What::ChannelAdded(_) => "channel_added",
        What::ChannelRemoved(_) => "channel_removed",
        What::RoleSet(_) => "role_set",
        What::Muted(_) => "muted",
        What::BlockSet(_) => "block_set",
        What::ChannelUpdated(_) => "channel_updated",
    }
}
