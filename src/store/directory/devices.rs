//! Who may come in: a person's devices, and tokens that count no more.
//!
//! A login reads. It writes when the person or the device is new, and once a week, so that the
//! device which was seen least lately is known: ten thousand that come back at once write nothing.
//!
//! A device that is one too many takes the place of the one seen least lately. Revoked ones are
//! kept beside those, as many at most, or a device would come back by being forgotten.

use damso_proto::id::{Uid, UserNo};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::admission::{Admission, Login, Provision};
use super::records::User;
use super::rows::{custom, number, stored};
use super::seam::DirectoryError;
use super::{commands, reads};
use crate::model::device::DeviceId;
use crate::model::limits::{DEVICE_SEEN_GRAIN, DEVICES_PER_USER_MAX, millis_long};

type Result<T> = std::result::Result<T, DirectoryError>;

/// What is known of a person and one of their devices.
struct Known {
    user: User,
    not_before_ms: u64,
    device: Option<Device>,
}

struct Device {
    seen_ms: u64,
    is_revoked: bool,
}

/// Decides a login by reading alone. `None`: something has to be written first.
pub(super) fn judge(
    db: &Connection,
    login: &Login,
    provision: Provision,
    now_ms: u64,
) -> rusqlite::Result<Option<Admission>> {
    let Some(Known { user, not_before_ms, device }) = known(db, login)? else {
        return Ok((provision == Provision::Strict).then_some(Admission::Unknown));
    };
    if login.issued_ms < not_before_ms {
        return Ok(Some(Admission::TokenRevoked));
    }
    let admitted = || Admission::Admitted(user);
    Ok(match device {
        None => None,
        Some(Device { is_revoked: true, .. }) => Some(Admission::DeviceRevoked),
        Some(Device { seen_ms, .. }) => {
            (now_ms < seen_ms.saturating_add(millis_long(DEVICE_SEEN_GRAIN))).then(admitted)
        }
    })
}

/// Decides a login, and notes what is new.
pub(super) fn admit(
    db: &Connection,
    login: &Login,
    provision: Provision,
    now_ms: u64,
) -> Result<Admission> {
    let user = match provision {
        Provision::Auto => commands::find_or_make_user(db, &login.uid, now_ms)?,
        Provision::Strict => match reads::user_by_uid(db, &login.uid)? {
            Some(user) => user,
            None => return Ok(Admission::Unknown),
        },
    };
    // It may have been written since the reader looked.
    if let Some(admission) = judge(db, login, provision, now_ms)? {
        return Ok(admission);
    }
    let place = params![stored(user.number.get()), login.device.as_str(), stored(now_ms)];
    let sql = "UPDATE devices SET seen_ms = ?3 WHERE user = ?1 AND device = ?2";
    if db.prepare_cached(sql)?.execute(place)? == 0 {
        make_room(db, user.number, false)?;
        let sql = "INSERT INTO devices VALUES (?1, ?2, ?3, ?3, 0)";
        db.prepare_cached(sql)?.execute(place)?;
    }
    Ok(Admission::Admitted(user))
}

/// See [`super::Directory::revoke`].
pub(super) fn revoke(
    db: &Connection,
    uid: &Uid,
    device: Option<&DeviceId>,
    now_ms: u64,
) -> Result<Option<UserNo>> {
    let Some(User { number: user, .. }) = reads::user_by_uid(db, uid)? else { return Ok(None) };
    let Some(device) = device else {
        // A clock that goes back revives nothing.
        let sql = "UPDATE users SET not_before_ms = max(not_before_ms, ?2) WHERE number = ?1";
        db.prepare_cached(sql)?.execute(params![stored(user.get()), stored(now_ms)])?;
        return Ok(Some(user));
    };
    let place = params![stored(user.get()), device.as_str(), stored(now_ms)];
    let sql = "DELETE FROM devices WHERE user = ?1 AND device = ?2";
    db.prepare_cached(sql)?.execute(params![stored(user.get()), device.as_str()])?;
    make_room(db, user, true)?;
    db.prepare_cached("INSERT INTO devices VALUES (?1, ?2, ?3, ?3, 1)")?.execute(place)?;
    Ok(Some(user))
}

/// Forgets devices until there is room for one more, revoked ones or others.
fn make_room(db: &Connection, user: UserNo, is_revoked: bool) -> Result<()> {
    let sql = "DELETE FROM devices WHERE user = ?1 AND device IN
               (SELECT device FROM devices WHERE user = ?1 AND is_revoked = ?2
                ORDER BY seen_ms DESC, made_ms DESC, device LIMIT -1 OFFSET ?3)";
    let kept = i64::try_from(DEVICES_PER_USER_MAX - 1).unwrap_or(i64::MAX);
    db.prepare_cached(sql)?.execute(params![stored(user.get()), is_revoked, kept])?;
    Ok(())
}

fn known(db: &Connection, login: &Login) -> rusqlite::Result<Option<Known>> {
    let sql = "SELECT u.number, u.not_before_ms, u.custom, d.seen_ms, d.is_revoked FROM users u
               LEFT JOIN devices d ON d.user = u.number AND d.device = ?2 WHERE u.uid = ?1";
    let asked = params![login.uid.as_str(), login.device.as_str()];
    let known = db.prepare_cached(sql)?.query_row(asked, |row| {
        let is_revoked: Option<bool> = row.get(4)?;
        let device = match is_revoked {
            Some(is_revoked) => Some(Device { seen_ms: number(row, 3)?, is_revoked }),
            None => None,
        };
        let user = UserNo::new(number(row, 0)?);
        let user = User { number: user, uid: login.uid.clone(), custom: custom(row, 2)? };
        Ok(Known { user, not_before_ms: number(row, 1)?, device })
    });
    known.optional()
}
