//! What a backend alone may ask: channels by their own key or between any two people, and what a
//! channel is to nobody in particular.

use damso_proto::id::{ChannelNo, Uid, UserNo};

use super::channels::{self, ByBackend, command_of, decide, settled, users_of};
use super::envelope::Envelope;
use super::floors::Floors;
use super::key;
use super::refusal::Refusal;
use crate::model::body::BodyHash;
use crate::model::deadline::Deadline;
use crate::model::draft::ChannelDraft;
use crate::model::naming::{ChannelKey, CustomMap};
use crate::model::rights::Actor;
use crate::store::directory::{DirectoryError, Done, Heading, User};
use crate::store::log::Head;

/// A channel as nobody in particular sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Channel {
    /// Its number.
    pub number: ChannelNo,
    /// The directory's row.
    pub heading: Heading,
    /// Where its log ends.
    pub head: Head,
}

/// What a backend calls a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChannelName {
    /// Its own key.
    Key(ChannelKey),
    /// The number that the server gave it.
    Number(ChannelNo),
}

/// A channel that was to be there, and is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Established {
    /// The channel.
    pub channel: ChannelNo,
    /// It was made now, or when the key was first seen; else it was there before.
    pub is_new: bool,
}

/// Makes a group or a broadcast, or finds the one that has its key, which stays as it is. Answered
/// when every shard and every member's own log knows it.
///
/// # Errors
/// [`crate::delivery::Refusal::NotFound`] where a person does not exist; faults of the draft and
/// the key; [`crate::delivery::Refusal::Limit`].
pub async fn establish(
    from: Envelope,
    draft: ChannelDraft,
    more: ByBackend,
    floors: &Floors,
) -> Result<Established, Refusal> {
    channels::make(Actor::Service, from, draft, more, floors).await.map(established)
}

/// Finds the direct channel of two people, or makes it.
///
/// # Errors
/// As [`establish`]; [`crate::delivery::Refusal::Invalid`] where the two are one.
pub async fn establish_direct(
    from: Envelope,
    people: [Uid; 2],
    floors: &Floors,
) -> Result<Established, Refusal> {
    let [one, other] = &people;
    let body =
        BodyHash::of("open_direct_of", &[one.as_str().as_bytes(), other.as_str().as_bytes()]);
    let key = key::check(Actor::Service, from.key, body, floors.clock.unix_ms())?;
    let done = decide(key, from, floors, move |directory, command| {
        match users_of(directory, &people)?[..] {
            [one, other] => directory.open_direct(command, one, other),
            _ => Err(DirectoryError::NoUser(UserNo::default())),
        }
    });
    settled(from.route, done.await?, floors).await.map(established)
}

/// A channel.
///
/// # Errors
/// [`crate::delivery::Refusal::NotFound`]: there is none, or it is a person's own log;
/// [`Refusal::Directory`], [`Refusal::Store`]: retry is safe.
pub async fn channel(name: ChannelName, floors: &Floors) -> Result<Channel, Refusal> {
    let (directory, log) = (floors.directory.clone(), floors.log.clone());
    floors
        .behind_door(Deadline::NONE, move || {
            let number = match name {
                ChannelName::Number(number) => number,
                ChannelName::Key(key) => {
                    directory.channel_by_key(&key)?.ok_or(Refusal::not_found())?
                }
            };
            let heading = directory.heading(number)?.ok_or(Refusal::not_found())?;
            let head = log.heads(&[number])?.first().copied().ok_or(Refusal::not_found())?;
            Ok(Channel { number, heading, head })
        })
        .await?
}

/// Makes a person if there is none of this name yet, and notes on them what is to be noted, if
/// anything is said about it: once for each key.
///
/// # Errors
/// Faults of the key; [`Refusal::Directory`]: doing it again is safe.
pub async fn make_person(
    from: Envelope,
    uid: Uid,
    custom: Option<CustomMap>,
    floors: &Floors,
) -> Result<User, Refusal> {
    let now_ms = floors.clock.unix_ms();
    let noted = custom.iter().flat_map(CustomMap::entries);
    let noted = noted.flat_map(|(name, text)| [name.as_bytes(), text.as_bytes()]);
    let body: Vec<&[u8]> = [uid.as_str().as_bytes()].into_iter().chain(noted).collect();
    let body = BodyHash::of("note_on_user", &body);
    let command = command_of(key::check(Actor::Service, from.key, body, now_ms)?, floors);
    let directory = floors.directory.clone();
    floors
        .behind_door(Deadline::NONE, move || {
            let user = directory.find_or_make_user(&uid, now_ms)?;
            Ok(match custom {
                Some(custom) => directory.note_on_user(&command, user.number, &custom)?,
                None => user,
            })
        })
        .await?
}

/// A person.
///
/// # Errors
/// [`crate::delivery::Refusal::NotFound`]; [`Refusal::Directory`]: retry is safe.
pub async fn person(uid: Uid, floors: &Floors) -> Result<User, Refusal> {
    let directory = floors.directory.clone();
    let found = floors.behind_door(Deadline::NONE, move || directory.users_by_uid(&[uid]));
    found.await??.pop().ok_or(Refusal::not_found())
}

/// A channel that was found had nothing to change.
fn established(done: Done) -> Established {
    Established { channel: done.channel, is_new: done.seq != Default::default() }
}
