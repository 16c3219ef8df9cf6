//! Values as the directory stores them.
//!
//! ```text
//! change | kind u8 | version u64 BE | person | person ...    10 bytes each, 18 with a time
//! person | what u8 | user u64 BE | role u8 |    what: 1 added, 2 removed (role 0), 3 role set,
//!                                                    4 added with the channel's past,
//!                                                    5 muted (role 0), until u64 BE behind it,
//!                                                    6 blocks, 7 blocks no longer (role 0)
//! ```

use std::sync::Arc;

use damso_proto::id::{ChannelNo, Key, Seq, UserNo};
use damso_proto::wire;
use prost::Message as _;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

use super::records::{OutboxId, OutboxRow, Owed};
use super::seam::DirectoryError;
use crate::model::naming::{ChannelKey, CustomMap};
use crate::model::rights::{Kind, RightsChange, RightsDelta, Role, Sight};

const ADDED: u8 = 1;
const REMOVED: u8 = 2;
const ROLE_SET: u8 = 3;
const ADDED_WITH_PAST: u8 = 4;
const MUTED: u8 = 5;
const BLOCKS: u8 = 6;
const BLOCKS_NO_LONGER: u8 = 7;

impl From<rusqlite::Error> for DirectoryError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(Box::new(error))
    }
}

/// A number as SQLite keeps it. All 64 bits come back, so a number that a stranger made up
/// finds nothing instead of failing.
pub(super) const fn stored(number: u64) -> i64 {
    number.cast_signed()
}

/// The unsigned number in a column.
pub(super) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

/// The kind of channel in a column.
pub(super) fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<Kind> {
    Kind::from_wire(row.get(column)?).ok_or_else(|| damaged(column, "not a kind of channel"))
}

/// The role in a column.
pub(super) fn role(row: &Row<'_>, column: usize) -> rusqlite::Result<Role> {
    Role::from_wire(row.get(column)?).ok_or_else(|| damaged(column, "not a role"))
}

/// A backend's key in a column.
pub(super) fn channel_key(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<ChannelKey>> {
    let text = row.get_ref(column)?.as_str_or_null()?;
    text.map(ChannelKey::parse).transpose().map_err(|_| damaged(column, "not a channel's key"))
}

/// A backend's notes in a column.
pub(super) fn custom(row: &Row<'_>, column: usize) -> rusqlite::Result<CustomMap> {
    let Some(text) = row.get_ref(column)?.as_str_or_null()? else {
        return Ok(CustomMap::default());
    };
    let map = serde_json::from_str(text).map_err(|_| damaged(column, "not a map of texts"))?;
    CustomMap::check(map).map_err(|_| damaged(column, "not a map of texts"))
}

/// A backend's notes as a column has them.
pub(super) fn stored_custom(custom: &CustomMap) -> Option<String> {
    let map = custom.entries();
    (!map.is_empty()).then(|| serde_json::to_string(map).expect("texts are JSON"))
}

/// The columns that [`outbox_row`] reads.
pub(super) const OUTBOX_COLUMNS: &str = "id, channel, key, at_seq, event, change";

/// An event that is owed.
pub(super) fn outbox_row(row: &Row<'_>) -> rusqlite::Result<OutboxRow> {
    let key = Key::parse(row.get_ref(2)?.as_blob()?).ok_or_else(|| damaged(2, "not a key"))?;
    let event = row.get_ref(4)?.as_blob_or_null()?.map(wire::Event::decode);
    let event = event.transpose().map_err(|_| damaged(4, "not an event"))?;
    let change = row.get_ref(5)?.as_blob_or_null()?.map(|bytes| {
        read_change(bytes).map(Arc::new).ok_or_else(|| damaged(5, "not a change of rights"))
    });
    let owed = match (event, change.transpose()?) {
        (Some(event), None) => Owed::Event(event),
        (Some(event), Some(change)) => Owed::Change(event, change),
        (None, Some(change)) => Owed::Silence(change),
        (None, None) => return Err(damaged(4, "owes nothing")),
    };
    Ok(OutboxRow {
        id: OutboxId(number(row, 0)?),
        channel: ChannelNo::new(number(row, 1)?),
        key,
        at: Seq::new(number(row, 3)?),
        owed,
    })
}

/// Stores an event that is owed.
pub(super) fn write_row(db: &Connection, row: &OutboxRow) -> rusqlite::Result<()> {
    let sql = format!("INSERT INTO outbox ({OUTBOX_COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
    db.prepare_cached(&sql)?.execute(params![
        stored(row.id.0),
        stored(row.channel.get()),
        row.key.as_bytes(),
        stored(row.at.get()),
        row.owed.event().map(wire::Event::encode_to_vec),
        row.owed.change().map(|change| write_change(change))
    ])?;
    Ok(())
}

/// The stored form of a change.
fn write_change(change: &RightsChange) -> Vec<u8> {
    let mut bytes = vec![wire_byte(change.kind.to_wire() as i32)];
    bytes.extend(change.version.to_be_bytes());
    for person in &change.people {
        let (what, user, role) = match *person {
            RightsDelta::Added(user, role, Sight::FromHere) => (ADDED, user, role_byte(role)),
            RightsDelta::Added(user, role, Sight::FromStart) => {
                (ADDED_WITH_PAST, user, role_byte(role))
            }
            RightsDelta::Removed(user) => (REMOVED, user, 0),
            RightsDelta::RoleSet(user, role) => (ROLE_SET, user, role_byte(role)),
            RightsDelta::Muted(user, _) => (MUTED, user, 0),
            RightsDelta::Blocks(user, true) => (BLOCKS, user, 0),
            RightsDelta::Blocks(user, false) => (BLOCKS_NO_LONGER, user, 0),
        };
        bytes.push(what);
        bytes.extend(user.get().to_be_bytes());
        bytes.push(role);
        if let RightsDelta::Muted(_, until_ms) = *person {
            bytes.extend(until_ms.to_be_bytes());
        }
    }
    bytes
}

fn role_byte(role: Role) -> u8 {
    wire_byte(role.to_wire() as i32)
}

fn wire_byte(number: i32) -> u8 {
    u8::try_from(number).expect("kinds and roles have small numbers")
}

fn read_change(bytes: &[u8]) -> Option<RightsChange> {
    let (&kind, rest) = bytes.split_first()?;
    let (version, people) = rest.split_first_chunk()?;
    let mut rest: &[u8] = people;
    let mut people = Vec::new();
    while !rest.is_empty() {
        let (bytes, behind) = rest.split_first_chunk::<10>()?;
        rest = behind;
        let user = UserNo::new(u64::from_be_bytes(bytes[1..9].try_into().ok()?));
        let person = match (bytes[0], Role::from_wire(bytes[9].into())) {
            (ADDED, Some(role)) => Some(RightsDelta::Added(user, role, Sight::FromHere)),
            (ADDED_WITH_PAST, Some(role)) => Some(RightsDelta::Added(user, role, Sight::FromStart)),
            (REMOVED, None) => Some(RightsDelta::Removed(user)),
            (MUTED, None) => {
                let (until_ms, behind) = rest.split_first_chunk()?;
                rest = behind;
                Some(RightsDelta::Muted(user, u64::from_be_bytes(*until_ms)))
            }
            (BLOCKS, None) => Some(RightsDelta::Blocks(user, true)),
            (BLOCKS_NO_LONGER, None) => Some(RightsDelta::Blocks(user, false)),
            (ROLE_SET, Some(role)) => Some(RightsDelta::RoleSet(user, role)),
            _ => None,
        };
        people.push(person?);
    }
    Some(RightsChange {
        kind: Kind::from_wire(kind.into())?,
        version: u64::from_be_bytes(*version),
        people,
    })
}

fn damaged(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_change_comes_back_and_nothing_else_does() {
        let change = RightsChange {
            kind: Kind::Group,
            version: 1 << 40,
            people: vec![
                RightsDelta::Added(UserNo::new(1), Role::Member, Sight::FromHere),
                RightsDelta::Removed(UserNo::new(u64::MAX)),
                RightsDelta::RoleSet(UserNo::new(3), Role::Owner),
                RightsDelta::Muted(UserNo::new(4), 1 << 50),
                RightsDelta::Blocks(UserNo::new(5), true),
                RightsDelta::Blocks(UserNo::new(6), false),
            ],
        };
        let bytes = write_change(&change);
        assert_eq!(read_change(&bytes), Some(change));
        for len in [0, 1, 8, 10, 18, 20, 38, 40, 49, 56, 58, 76] {
            assert_eq!(read_change(&bytes[..len]), None, "cut to {len}");
        }
        for (at, wrong) in [(0, 0), (9, 9), (18, 0), (28, 1), (66, 1)] {
            let mut bytes = bytes.clone();
            bytes[at] = wrong;
            assert_eq!(read_change(&bytes), None, "byte {at}");
        }
    }
}
