//! Numbers and uids: who is who.

use damso_proto::id::{Uid, UserNo};
use damso_proto::wire;

use super::floors::Floors;
use super::refusal::Refusal;
use crate::model::deadline::Deadline;
use crate::model::draft::Invalid;
use crate::model::limits;

/// Looks people up. Who is not there is left out.
///
/// # Errors
/// [`Refusal::Invalid`] for more than 100 at once; [`Refusal::Directory`] (retry is safe).
pub(super) async fn find(
    ask: wire::FindPeople,
    deadline: Deadline,
    floors: &Floors,
) -> Result<wire::People, Refusal> {
    if ask.users.len() + ask.uids.len() > limits::PEOPLE_PER_LOOKUP_MAX {
        return Err(Invalid::TooLarge { field: "users", max: limits::PEOPLE_PER_LOOKUP_MAX }.into());
    }
    let users: Vec<UserNo> = ask.users.into_iter().map(UserNo::new).collect();
    let uids: Vec<Uid> = ask.uids.iter().filter_map(|uid| Uid::parse(uid)).collect();
    let directory = floors.directory.clone();
    let found = floors
        .behind_door(deadline, move || {
            let mut found = directory.users(&users)?;
            found.extend(directory.users_by_uid(&uids)?);
            Ok::<_, crate::store::directory::DirectoryError>(found)
        })
        .await??;
    let people = found.into_iter().map(|person| wire::Person {
        user: person.number.get(),
        uid: person.uid.as_str().to_owned(),
        custom: person.custom.into_entries(),
    });
    Ok(wire::People { people: people.collect() })
}
