//! What is asked of the directory. Runs within a transaction: one state, not several.

use std::sync::Arc;

use damso_proto::id::{ChannelNo, Seq, Uid, UserNo};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Result, Row, params};

use super::records::{Ban, Channel, Heading, Member, Membership, OutboxId, OutboxRow, Owed, User};
use super::rows::{OUTBOX_COLUMNS, channel_key, custom, kind, number, outbox_row, role, stored};
use crate::model::naming::ChannelKey;
use crate::model::rights::{Kind, RightsChange, RightsDelta, Role};

pub(super) fn user(db: &Connection, user: UserNo) -> Result<Option<User>> {
    db.prepare_cached("SELECT number, uid, custom FROM users WHERE number = ?1")?
        .query_row([stored(user.get())], user_row)
        .optional()
}

pub(super) fn user_by_uid(db: &Connection, uid: &Uid) -> Result<Option<User>> {
    db.prepare_cached("SELECT number, uid, custom FROM users WHERE uid = ?1")?
        .query_row([uid.as_str()], user_row)
        .optional()
}

fn user_row(row: &Row<'_>) -> Result<User> {
    Ok(User { number: UserNo::new(number(row, 0)?), uid: uid(row, 1)?, custom: custom(row, 2)? })
}

fn uid(row: &Row<'_>, column: usize) -> Result<Uid> {
    Uid::parse(row.get_ref(column)?.as_str()?).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, "not a uid".into())
    })
}

pub(super) fn channel(db: &Connection, channel: ChannelNo) -> Result<Option<Channel>> {
    let found = match channel.self_user() {
        Some(person) => user(db, person)?.map(|person| {
            let (user, from) = (person.number, Seq::ZERO.next());
            let member = Member { user, role: Role::Member, from, muted_until_ms: 0 };
            (Kind::Personal, String::new(), 0, vec![member], Vec::new())
        }),
        None => match heading(db, channel)? {
            None => None,
            Some(Heading { kind, name, version, .. }) => {
                let members = kept_members(db, channel, kind)?;
                let blockers = blockers(db, kind, &members)?;
                Some((kind, name, version, members, blockers))
            }
        },
    };
    let Some((kind, name, version, members, blockers)) = found else { return Ok(None) };
    let mut pending = outbox_of(db, channel)?;
    for row in &mut pending {
        as_it_is_now(db, channel, &mut row.owed)?;
    }
    Ok(Some(Channel { number: channel, kind, name, version, members, blockers, pending }))
}

/// Leaves of a change that may be told once more what still holds: later ones may have passed, and
/// are not told again behind it.
fn as_it_is_now(db: &Connection, channel: ChannelNo, owed: &mut Owed) -> Result<()> {
    let (Owed::Change(_, change) | Owed::Silence(change)) = owed else { return Ok(()) };
    let mut still = Vec::with_capacity(change.people.len());
    for delta in &change.people {
        let role = role_of(db, channel, delta.user())?;
        match (*delta, role) {
            (RightsDelta::Added(user, _, sight), Some(role)) => {
                still.push(RightsDelta::Added(user, role, sight));
            }
            (RightsDelta::RoleSet(user, _), Some(role)) => {
                still.push(RightsDelta::RoleSet(user, role));
            }
            (RightsDelta::Removed(_), None) => still.push(*delta),
            // The channel's owner alone asks, and has read it.
            (RightsDelta::Muted(..) | RightsDelta::Blocks(..), _)
            | (RightsDelta::Added(..) | RightsDelta::RoleSet(..), None)
            | (RightsDelta::Removed(_), Some(_)) => {}
        }
    }
    if still != change.people {
        let RightsChange { kind, version, .. } = **change;
        *change = Arc::new(RightsChange { kind, version, people: still });
    }
    Ok(())
}

pub(super) fn heading(db: &Connection, channel: ChannelNo) -> Result<Option<Heading>> {
    let sql = format!("SELECT {HEADING_COLUMNS} FROM channels WHERE number = ?1");
    db.prepare_cached(&sql)?
        .query_row([stored(channel.get())], |row| heading_row(row, 0))
        .optional()
}

pub(super) fn channel_by_key(db: &Connection, key: &ChannelKey) -> Result<Option<ChannelNo>> {
    db.prepare_cached("SELECT number FROM channels WHERE key = ?1")?
        .query_row([key.as_str()], |row| number(row, 0).map(ChannelNo::new))
        .optional()
}

/// What [`heading_row`] reads.
const HEADING_COLUMNS: &str = "kind, name, version, members, key, custom";

/// A channel's row, from column `first` on.
fn heading_row(row: &Row<'_>, first: usize) -> Result<Heading> {
    Ok(Heading {
        kind: kind(row, first)?,
        name: row.get(first + 1)?,
        version: number(row, first + 2)?,
        members: number(row, first + 3)?,
        key: channel_key(row, first + 4)?,
        custom: custom(row, first + 5)?,
    })
}

/// The members whom the channel's owner keeps in mind.
fn kept_members(db: &Connection, channel: ChannelNo, kind: Kind) -> Result<Vec<Member>> {
    let sql = match kind {
        Kind::Broadcast => {
            "SELECT user, role, from_seq, muted_until_ms FROM members INDEXED BY writers_of_channel
             WHERE channel = ?1 AND role <> 4 ORDER BY user"
        }
        Kind::Direct | Kind::Group | Kind::Personal => {
            "SELECT user, role, from_seq, muted_until_ms FROM members WHERE channel = ?1 ORDER BY user"
        }
    };
    db.prepare_cached(sql)?.query_map([stored(channel.get())], member_row)?.collect()
}

fn member_row(row: &Row<'_>) -> Result<Member> {
    Ok(Member {
        user: UserNo::new(number(row, 0)?),
        role: role(row, 1)?,
        from: Seq::new(number(row, 2)?),
        muted_until_ms: number(row, 3)?,
    })
}

/// The role of `user` in `channel`. `None`: is not in it.
pub(super) fn role_of(db: &Connection, channel: ChannelNo, user: UserNo) -> Result<Option<Role>> {
    db.prepare_cached("SELECT role FROM members WHERE channel = ?1 AND user = ?2")?
        .query_row(params![stored(channel.get()), stored(user.get())], |row| role(row, 0))
        .optional()
}

pub(super) fn members(
    db: &Connection,
    channel: ChannelNo,
    after: UserNo,
    max: usize,
) -> Result<Vec<(Member, Uid)>> {
    let sql = "SELECT user, role, from_seq, muted_until_ms, uid FROM members JOIN users ON users.number = user
               WHERE channel = ?1 AND user > ?2 ORDER BY user LIMIT ?3";
    db.prepare_cached(sql)?
        .query_map(params![stored(channel.get()), above(after.get()), count(max)], |row| {
            Ok((member_row(row)?, uid(row, 4)?))
        })?
        .collect()
}

pub(super) fn memberships(
    db: &Connection,
    user: UserNo,
    after: ChannelNo,
    max: usize,
) -> Result<Vec<Membership>> {
    let sql = format!(
        "SELECT {MEMBERSHIP_COLUMNS} {HEADING_COLUMNS} {MEMBERSHIPS} WHERE user = ?1 AND channel > ?2 ORDER BY channel LIMIT ?3"
    );
    db.prepare_cached(&sql)?
        .query_map(params![stored(user.get()), above(after.get()), count(max)], membership_row)?
        .collect()
}

pub(super) fn membership(
    db: &Connection,
    user: UserNo,
    channel: ChannelNo,
) -> Result<Option<Membership>> {
    let sql = format!(
        "SELECT {MEMBERSHIP_COLUMNS} {HEADING_COLUMNS} {MEMBERSHIPS} WHERE user = ?1 AND channel = ?2"
    );
    db.prepare_cached(&sql)?
        .query_row(params![stored(user.get()), stored(channel.get())], membership_row)
        .optional()
}

/// What [`membership_row`] reads besides the heading, of the person `?1`.
const MEMBERSHIP_COLUMNS: &str = "number, role, from_seq, low + high - ?1, muted_until_ms,";
const MEMBERSHIPS: &str = "FROM members JOIN channels ON number = channel";

fn membership_row(row: &Row<'_>) -> Result<Membership> {
    let peer: Option<i64> = row.get(3)?;
    Ok(Membership {
        channel: ChannelNo::new(number(row, 0)?),
        role: role(row, 1)?,
        from: Seq::new(number(row, 2)?),
        peer: peer.map(|peer| UserNo::new(peer.cast_unsigned())),
        muted_until_ms: number(row, 4)?,
        heading: heading_row(row, 5)?,
    })
}

/// Whether a person is kept out of `channel` at this time.
pub(super) fn is_banned(
    db: &Connection,
    channel: ChannelNo,
    user: UserNo,
    now_ms: u64,
) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM bans
               WHERE channel = ?1 AND user = ?2 AND (until_ms = 0 OR until_ms > ?3))";
    let ban = params![stored(channel.get()), stored(user.get()), stored(now_ms)];
    db.prepare_cached(sql)?.query_row(ban, |row| row.get(0))
}

pub(super) fn bans(
    db: &Connection,
    channel: ChannelNo,
    (after, max): (UserNo, usize),
    now_ms: u64,
) -> Result<Vec<Ban>> {
    let sql = "SELECT user, until_ms, uid FROM bans JOIN users ON users.number = user
               WHERE channel = ?1 AND user > ?2 AND (until_ms = 0 OR until_ms > ?3)
               ORDER BY user LIMIT ?4";
    let page = params![stored(channel.get()), above(after.get()), stored(now_ms), count(max)];
    db.prepare_cached(sql)?
        .query_map(page, |row| {
            let (user, uid) = (UserNo::new(number(row, 0)?), uid(row, 2)?);
            Ok(Ban { user, uid, until_ms: number(row, 1)? })
        })?
        .collect()
}

/// Whether `user` blocks `other`.
pub(super) fn blocks(db: &Connection, user: UserNo, other: UserNo) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM blocks WHERE user = ?1 AND blocked = ?2)";
    let pair = params![stored(user.get()), stored(other.get())];
    db.prepare_cached(sql)?.query_row(pair, |row| row.get(0))
}

/// Those of a direct channel's two people who block the other.
fn blockers(db: &Connection, kind: Kind, members: &[Member]) -> Result<Vec<UserNo>> {
    let mut found = Vec::new();
    if let (Kind::Direct, [one, other]) = (kind, members) {
        for (user, peer) in [(one.user, other.user), (other.user, one.user)] {
            found.extend(blocks(db, user, peer)?.then_some(user));
        }
    }
    Ok(found)
}

/// Whom a person blocks, by rising number.
pub(super) fn blocked_by(
    db: &Connection,
    user: UserNo,
    (after, max): (UserNo, usize),
) -> Result<Vec<(UserNo, Uid)>> {
    let sql = "SELECT blocked, uid FROM blocks JOIN users ON number = blocked
               WHERE user = ?1 AND blocked > ?2 ORDER BY blocked LIMIT ?3";
    let page = params![stored(user.get()), above(after.get()), count(max)];
    db.prepare_cached(sql)?
        .query_map(page, |row| Ok((UserNo::new(number(row, 0)?), uid(row, 1)?)))?
        .collect()
}

/// The direct channel of two people.
pub(super) fn direct_of(db: &Connection, user: UserNo, peer: UserNo) -> Result<Option<ChannelNo>> {
    let pair = params![stored(user.min(peer).get()), stored(user.max(peer).get())];
    db.prepare_cached("SELECT number FROM channels WHERE low = ?1 AND high = ?2")?
        .query_row(pair, |row| number(row, 0).map(ChannelNo::new))
        .optional()
}

pub(super) fn outbox(db: &Connection, after: OutboxId, max: usize) -> Result<Vec<OutboxRow>> {
    let sql = format!("SELECT {OUTBOX_COLUMNS} FROM outbox WHERE id > ?1 ORDER BY id LIMIT ?2");
    db.prepare_cached(&sql)?.query_map(params![above(after.0), count(max)], outbox_row)?.collect()
}

pub(super) fn outbox_of(db: &Connection, channel: ChannelNo) -> Result<Vec<OutboxRow>> {
    let sql = format!("SELECT {OUTBOX_COLUMNS} FROM outbox WHERE channel = ?1 ORDER BY id");
    db.prepare_cached(&sql)?.query_map([stored(channel.get())], outbox_row)?.collect()
}

/// A position that a stranger may have made up: above the largest number stands nothing.
fn above(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}

fn count(max: usize) -> i64 {
    i64::try_from(max).unwrap_or(i64::MAX)
}
