//! Keys of backends: who may ask by HTTP, for what; and what a backend's requests are known by.
//!
//! A backend names its requests as it likes (`Idempotency-Key`). Inside, a request is known by a key
//! that carries its time; the first time that a name is seen, it is given one, which stays its own.

use damso_proto::id::Key;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::rows::{number, stored};
use super::seam::DirectoryError;
use super::sqlite::Sqlite;
use crate::model::body::BodyHash;
use crate::model::limits;
use crate::model::scope::Scopes;

/// Rows that a new one deletes from behind the window: more than it adds, and never many.
const PRUNED_PER_REQUEST: i64 = 8;

type Result<T> = std::result::Result<T, DirectoryError>;

/// Names a key; public.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServiceKeyId(pub u64);

/// A key of a backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceKey {
    /// Names it.
    pub id: ServiceKeyId,
    /// SHA-256 of its secret, which is nowhere.
    pub secret: [u8; 32],
    /// What its operator calls it.
    pub name: String,
    /// What it is good for.
    pub scopes: Scopes,
    /// When it was made, milliseconds since 1970.
    pub made_ms: u64,
    /// When it was revoked, milliseconds since 1970. `None`: it is good.
    pub revoked_ms: Option<u64>,
}

/// A key to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewServiceKey<'a> {
    /// SHA-256 of its secret.
    pub secret: [u8; 32],
    /// What its operator calls it.
    pub name: &'a str,
    /// What it is good for.
    pub scopes: Scopes,
    /// Time of day, milliseconds since 1970.
    pub made_ms: u64,
}

/// A request as the backend names it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AskedAs {
    /// Whose name it is.
    pub by: ServiceKeyId,
    /// The name.
    pub name: String,
    /// What is asked.
    pub body: BodyHash,
}

/// Where keys of backends are kept. Every call may block on a disk.
pub trait ServiceKeys: Send + Sync {
    /// A key, revoked or not.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn service_key(&self, id: ServiceKeyId) -> Result<Option<ServiceKey>>;

    /// Every key, by rising id.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn service_keys(&self) -> Result<Vec<ServiceKey>>;

    /// Makes a key.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; done again, there may be two.
    fn make_service_key(&self, new: &NewServiceKey<'_>) -> Result<ServiceKeyId>;

    /// Revokes a key from now on, for good; one that is revoked stays so. `None`: there is none.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]; doing it again is safe.
    fn revoke_service_key(&self, id: ServiceKeyId, now_ms: u64) -> Result<Option<ServiceKey>>;

    /// What a request is known by inside: the key that it was given when its name was first seen,
    /// within the window of keys, or `fresh`.
    ///
    /// # Errors
    /// [`DirectoryError::KeyReused`]: the name stands for another request;
    /// [`DirectoryError::Engine`]; asking again is safe.
    fn known_by(&self, asked: &AskedAs, fresh: Key) -> Result<Key>;
}

impl ServiceKeys for Sqlite {
    fn service_key(&self, id: ServiceKeyId) -> Result<Option<ServiceKey>> {
        self.read(|db| find(db, id))
    }

    fn service_keys(&self) -> Result<Vec<ServiceKey>> {
        self.read(|db| {
            let sql = "SELECT id, secret, name, scopes, made_ms, revoked_ms FROM service_keys
                       ORDER BY id";
            db.prepare_cached(sql)?.query_map([], service_key)?.collect()
        })
    }

    fn make_service_key(&self, new: &NewServiceKey<'_>) -> Result<ServiceKeyId> {
        let NewServiceKey { secret, name, scopes, made_ms } = new;
        self.write(|db| {
            let sql = "INSERT INTO service_keys (secret, name, scopes, made_ms)
                       VALUES (?1, ?2, ?3, ?4) RETURNING id";
            let row = params![secret, name, scopes.to_string(), stored(*made_ms)];
            let id = db.prepare_cached(sql)?.query_row(row, |row| number(row, 0))?;
            Ok(ServiceKeyId(id))
        })
    }

    fn revoke_service_key(&self, id: ServiceKeyId, now_ms: u64) -> Result<Option<ServiceKey>> {
        self.write(|db| {
            let sql = "UPDATE service_keys SET revoked_ms = ?2
                       WHERE id = ?1 AND revoked_ms IS NULL";
            db.prepare_cached(sql)?.execute(params![stored(id.0), stored(now_ms)])?;
            Ok(find(db, id)?)
        })
    }

    fn known_by(&self, asked: &AskedAs, fresh: Key) -> Result<Key> {
        self.write(|db| known_by(db, asked, fresh))
    }
}

fn known_by(db: &Connection, asked: &AskedAs, fresh: Key) -> Result<Key> {
    let AskedAs { by, name, body } = asked;
    let sql = "SELECT key, body FROM service_requests WHERE service_key = ?1 AND header = ?2";
    let known = db
        .prepare_cached(sql)?
        .query_row(params![stored(by.0), name], |row| {
            Ok((Key::parse(row.get_ref(0)?.as_blob()?), number(row, 1)?))
        })
        .optional()?;
    let window_ms = limits::millis_long(limits::KEY_WINDOW);
    let since_ms = fresh.unix_ms().saturating_sub(window_ms);
    match known {
        Some((Some(key), known)) if key.unix_ms() >= since_ms => {
            return if known == body.0 { Ok(key) } else { Err(DirectoryError::KeyReused) };
        }
        _ => {}
    }
    let sql = "INSERT OR REPLACE INTO service_requests VALUES (?1, ?2, ?3, ?4)";
    let row = params![stored(by.0), name, fresh.as_bytes(), stored(body.0)];
    db.prepare_cached(sql)?.execute(row)?;
    let sql = "DELETE FROM service_requests WHERE (service_key, header) IN
               (SELECT service_key, header FROM service_requests WHERE key < ?1
                ORDER BY key LIMIT ?2)";
    let oldest = Key::new(since_ms, [0; 10]);
    db.prepare_cached(sql)?.execute(params![oldest.as_bytes(), PRUNED_PER_REQUEST])?;
    Ok(fresh)
}

fn find(db: &Connection, id: ServiceKeyId) -> rusqlite::Result<Option<ServiceKey>> {
    let sql = "SELECT id, secret, name, scopes, made_ms, revoked_ms FROM service_keys
               WHERE id = ?1";
    db.prepare_cached(sql)?.query_row([stored(id.0)], service_key).optional()
}

fn service_key(row: &Row<'_>) -> rusqlite::Result<ServiceKey> {
    let scopes = row.get_ref(3)?.as_str()?;
    // A scope of a newer version means nothing here: deny wins.
    let known = scopes.split(',').filter_map(|name| Scopes::parse([name]).ok());
    Ok(ServiceKey {
        id: ServiceKeyId(number(row, 0)?),
        secret: row.get(1)?,
        name: row.get(2)?,
        scopes: known.fold(Scopes::default(), Scopes::and),
        made_ms: number(row, 4)?,
        revoked_ms: row.get::<_, Option<i64>>(5)?.map(i64::cast_unsigned),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::runtime::random::SeededRandom;
    use crate::store::directory::Options;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn directory() -> (Sqlite, ServiceKeyId) {
        let random = Arc::new(SeededRandom::new(1));
        let directory = Sqlite::in_memory(Options::default(), random).unwrap();
        let id = directory.make_service_key(&new("shop")).unwrap();
        (directory, id)
    }

    fn new(name: &str) -> NewServiceKey<'_> {
        let scopes = Scopes::parse(["read", "users"]).unwrap();
        NewServiceKey { secret: [7; 32], name, scopes, made_ms: NOW_MS }
    }

    fn fresh(now_ms: u64) -> Key {
        Key::new(now_ms, [u8::try_from(now_ms % 251).unwrap(); 10])
    }

    #[test]
    fn a_key_is_found_as_it_was_made_and_revoked_once() {
        let (directory, id) = directory();
        let found = directory.service_key(id).unwrap().unwrap();
        assert_eq!((found.secret, &*found.name, found.revoked_ms), ([7; 32], "shop", None));
        assert_eq!((found.scopes, found.made_ms), (new("").scopes, NOW_MS));
        let other = directory.make_service_key(&new("other")).unwrap();
        assert!(other > id);
        for later in [5, 9] {
            let revoked = directory.revoke_service_key(id, later).unwrap().unwrap();
            assert_eq!(revoked.revoked_ms, Some(5));
        }
        let listed = directory.service_keys().unwrap();
        let revoked: Vec<_> = listed.iter().map(|key| (key.id, key.revoked_ms)).collect();
        assert_eq!(revoked, [(id, Some(5)), (other, None)]);
        assert_eq!(directory.revoke_service_key(ServiceKeyId(77), 5).unwrap(), None);
        assert_eq!(directory.service_key(ServiceKeyId(77)).unwrap(), None);
    }

    #[test]
    fn a_request_keeps_the_key_of_its_first_time_for_as_long_as_keys_count() {
        let (directory, by) = directory();
        let other = directory.make_service_key(&new("other")).unwrap();
        let asked = |by, name: &str, body: &str| {
            let body = BodyHash::of("test", &[body.as_bytes()]);
            AskedAs { by, name: name.to_owned(), body }
        };
        let window_ms = limits::millis_long(limits::KEY_WINDOW);
        let first = fresh(NOW_MS);
        assert_eq!(directory.known_by(&asked(by, "a", "x"), first).unwrap(), first);
        let within = fresh(NOW_MS + window_ms);
        assert_eq!(directory.known_by(&asked(by, "a", "x"), within).unwrap(), first);
        let another = directory.known_by(&asked(by, "a", "y"), within);
        assert!(matches!(another, Err(DirectoryError::KeyReused)), "{another:?}");
        assert_eq!(directory.known_by(&asked(other, "a", "y"), within).unwrap(), within);
        assert_eq!(directory.known_by(&asked(by, "b", "y"), within).unwrap(), within);
        let late = fresh(NOW_MS + window_ms + 1);
        assert_eq!(directory.known_by(&asked(by, "a", "y"), late).unwrap(), late);
    }

    #[test]
    fn names_beyond_the_window_are_forgotten_a_few_at_a_time() {
        let (directory, by) = directory();
        let ask = |name: String, now_ms| {
            let asked = AskedAs { by, name, body: BodyHash(1) };
            directory.known_by(&asked, fresh(now_ms)).unwrap();
        };
        (0..20).for_each(|n| ask(format!("old {n}"), NOW_MS + n));
        let later_ms = NOW_MS + limits::millis_long(limits::KEY_WINDOW) + 100;
        (0..3).for_each(|n| ask(format!("new {n}"), later_ms + n));
        let left: i64 = directory
            .read(|db| db.query_row("SELECT count(*) FROM service_requests", [], |row| row.get(0)))
            .unwrap();
        assert_eq!(left, 3);
    }
}
