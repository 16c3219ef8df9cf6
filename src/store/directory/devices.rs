//! Who may come in: a person's devices, and tokens that count no more.
//!
//! A login reads. It writes when the person or the device is new, and once a week, so that the
//! device which was seen least lately is known: ten thousand that come back at once write nothing.
//!
//! ```text
//! new --login, told a proof--> told --presents it--> proven --without it: refused
//!                              |  ^ without it: told again, the same or a newer one
//!                              +--+
//! ```
//!
//! A proof counts once it was presented: a client that lost what it was told before it was stored
//! is told again. Until then a device is as safe as its person's token.
//!
//! A device that is one too many takes the place of one that was never proven or, if there is
//! none, of one that was not seen for long: of those the one seen least lately. Revoked ones are
//! kept beside, as many at most, or a device would come back by being forgotten.

use damso_proto::id::{Uid, UserNo};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::admission::{Admission, Login, Provision};
use super::records::User;
use super::rows::{custom, number, stored};
use super::seam::DirectoryError;
use super::{commands, reads};
use crate::model::device::{DeviceId, ProofHash};
use crate::model::limits::{
    DEVICE_SEEN_GRAIN, DEVICE_UNSEEN_MAX, DEVICES_PER_USER_MAX, millis_long,
};

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
    proof: ProofHash,
    is_proven: bool,
}

/// Decides a login by reading alone. `None`: something has to be written first.
pub(super) fn judge(
    db: &Connection,
    login: &Login,
    provision: Provision,
    now_ms: u64,
) -> rusqlite::Result<Option<Admission>> {
    let Some(Known { user, not_before_ms, device }) = known(db, &login.uid, &login.device)? else {
        return Ok((provision == Provision::Strict).then_some(Admission::Unknown));
    };
    if login.issued_ms < not_before_ms {
        return Ok(Some(Admission::TokenRevoked));
    }
    let Some(device) = device else { return Ok(None) };
    if device.is_revoked {
        return Ok(Some(Admission::DeviceRevoked));
    }
    let presents = login.proof == Some(device.proof);
    if device.is_proven && !presents {
        return Ok(Some(Admission::Unproven));
    }
    // It was proven before, or is told what it was told already.
    let is_known = device.is_proven || (!presents && device.proof == login.fresh);
    let is_recent = now_ms < device.seen_ms.saturating_add(millis_long(DEVICE_SEEN_GRAIN));
    Ok((is_known && is_recent).then_some(Admission::Admitted { user, is_told: !device.is_proven }))
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
    let known = known(db, &login.uid, &login.device)?.and_then(|known| known.device);
    let is_new = known.is_none();
    // Whoever presents what was told has stored it.
    let is_proven = known.is_some_and(|device| login.proof == Some(device.proof));
    let proof = if is_proven { login.proof.unwrap_or(login.fresh) } else { login.fresh };
    if is_new && !make_room(db, user.number, now_ms)? {
        return Ok(Admission::TooManyDevices);
    }
    let sql = "INSERT INTO devices (user, device, proof, is_proven, made_ms, seen_ms, is_revoked)
               VALUES (?1, ?2, ?3, ?4, ?5, ?5, 0) ON CONFLICT (user, device)
               DO UPDATE SET proof = ?3, is_proven = ?4, seen_ms = ?5";
    db.prepare_cached(sql)?.execute(params![
        stored(user.number.get()),
        login.device.as_str(),
        proof.0,
        is_proven,
        stored(now_ms)
    ])?;
    Ok(Admission::Admitted { user, is_told: !is_proven })
}

/// See [`super::Directory::may_stay`].
pub(super) fn may_stay(
    db: &Connection,
    uid: &Uid,
    device: &DeviceId,
    issued_ms: u64,
) -> rusqlite::Result<Option<UserNo>> {
    let known = known(db, uid, device)?.filter(|known| {
        // A device that was forgotten meanwhile is none that was revoked.
        let is_revoked = known.device.as_ref().is_some_and(|device| device.is_revoked);
        issued_ms >= known.not_before_ms && !is_revoked
    });
    Ok(known.map(|known| known.user.number))
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
    let sql = "INSERT INTO devices (user, device, proof, is_proven, made_ms, seen_ms, is_revoked)
               VALUES (?1, ?2, zeroblob(32), 0, ?3, ?3, 1) ON CONFLICT (user, device)
               DO UPDATE SET seen_ms = ?3, is_revoked = 1";
    let place = params![stored(user.get()), device.as_str(), stored(now_ms)];
    db.prepare_cached(sql)?.execute(place)?;
    let sql = "DELETE FROM devices WHERE user = ?1 AND device IN
               (SELECT device FROM devices WHERE user = ?1 AND is_revoked = 1
                ORDER BY seen_ms DESC, device = ?2 DESC, device LIMIT -1 OFFSET ?3)";
    let kept = i64::try_from(DEVICES_PER_USER_MAX).unwrap_or(i64::MAX);
    db.prepare_cached(sql)?.execute(params![stored(user.get()), device.as_str(), kept])?;
    Ok(Some(user))
}

/// Forgets a device if there are as many as there may be. `false`: none may be forgotten.
fn make_room(db: &Connection, user: UserNo, now_ms: u64) -> Result<bool> {
    let sql = "SELECT count(*) FROM devices WHERE user = ?1 AND is_revoked = 0";
    let count: i64 = db.prepare_cached(sql)?.query_row([stored(user.get())], |row| row.get(0))?;
    if usize::try_from(count).is_ok_and(|count| count < DEVICES_PER_USER_MAX) {
        return Ok(true);
    }
    let sql = "DELETE FROM devices WHERE user = ?1 AND device =
               (SELECT device FROM devices
                WHERE user = ?1 AND is_revoked = 0 AND (is_proven = 0 OR seen_ms < ?2)
                ORDER BY is_proven, seen_ms, made_ms, device LIMIT 1)";
    let unseen_ms = now_ms.saturating_sub(millis_long(DEVICE_UNSEEN_MAX));
    let forgotten =
        db.prepare_cached(sql)?.execute(params![stored(user.get()), stored(unseen_ms)])?;
    Ok(forgotten > 0)
}

fn known(db: &Connection, uid: &Uid, device: &DeviceId) -> rusqlite::Result<Option<Known>> {
    let sql = "SELECT u.number, u.not_before_ms, u.custom, d.seen_ms, d.is_revoked, d.proof,
                      d.is_proven
               FROM users u
               LEFT JOIN devices d ON d.user = u.number AND d.device = ?2 WHERE u.uid = ?1";
    let asked = params![uid.as_str(), device.as_str()];
    let known = db.prepare_cached(sql)?.query_row(asked, |row| {
        let is_revoked: Option<bool> = row.get(4)?;
        let device = match is_revoked {
            Some(is_revoked) => Some(Device {
                seen_ms: number(row, 3)?,
                is_revoked,
                proof: ProofHash(row.get(5)?),
                is_proven: row.get(6)?,
            }),
            None => None,
        };
        let user = UserNo::new(number(row, 0)?);
        let user = User { number: user, uid: uid.clone(), custom: custom(row, 2)? };
        Ok(Known { user, not_before_ms: number(row, 1)?, device })
    });
    known.optional()
}
