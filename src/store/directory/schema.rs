//! The tables of the directory, and the version that made them.

use rusqlite::{Connection, Transaction};

use super::seam::DirectoryError;

/// "dams": tells our files from other people's.
const APPLICATION: i32 = 0x6461_6d73;

/// What each version adds to the one before it, from none: a file of version n has had the first n
/// of them. What has been released is never changed.
const STEPS: &[&str] =
    &[VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7];

/// Numbers are the ones of the wire: even for channels, rising for users, never reused.
const VERSION_1: &str = "
CREATE TABLE numbers (
  name TEXT PRIMARY KEY NOT NULL,
  next INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO numbers VALUES ('user', 1), ('channel', 2), ('outbox', 1);

CREATE TABLE users (
  number INTEGER PRIMARY KEY,
  uid TEXT NOT NULL UNIQUE,
  made_ms INTEGER NOT NULL
) STRICT;

-- kind: 1 direct, 2 group. low and high are the two people of a direct channel.
CREATE TABLE channels (
  number INTEGER PRIMARY KEY,
  kind INTEGER NOT NULL,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  made_ms INTEGER NOT NULL,
  low INTEGER REFERENCES users,
  high INTEGER REFERENCES users,
  UNIQUE (low, high),
  CHECK (number % 2 = 0),
  CHECK (kind = 1 AND low < high OR kind = 2 AND low IS NULL AND high IS NULL)
) STRICT;

-- role: 1 owner, 2 member. from_seq: the first seq that the member may see.
CREATE TABLE members (
  channel INTEGER NOT NULL REFERENCES channels,
  user INTEGER NOT NULL REFERENCES users,
  role INTEGER NOT NULL CHECK (role IN (1, 2)),
  from_seq INTEGER NOT NULL,
  PRIMARY KEY (channel, user)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX channels_of_user ON members (user, channel);
CREATE UNIQUE INDEX owner_of_channel ON members (channel) WHERE role = 1;

-- What a key was answered. The key begins with its time, so the oldest rows come first.
CREATE TABLE commands (
  key BLOB NOT NULL,
  user INTEGER NOT NULL REFERENCES users,
  body INTEGER NOT NULL,
  channel INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (key, user)
) STRICT, WITHOUT ROWID;

-- Events owed to logs. Channel may be a person's own log, so it refers to no table.
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY,
  channel INTEGER NOT NULL,
  key BLOB NOT NULL,
  at_seq INTEGER NOT NULL,
  event BLOB NOT NULL,
  change BLOB
) STRICT;
CREATE INDEX outbox_of_channel ON outbox (channel, id);
";

/// Broadcasts, roles, changes of which no event tells; how many are in a channel; commands of others
/// than people. SQLite changes no CHECK in place: the tables are copied.
const VERSION_2: &str = "
-- kind: 1 direct, 2 group, 4 broadcast. members: how many rows of it are in that table.
CREATE TABLE channels_2 (
  number INTEGER PRIMARY KEY,
  kind INTEGER NOT NULL,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  made_ms INTEGER NOT NULL,
  low INTEGER REFERENCES users,
  high INTEGER REFERENCES users,
  members INTEGER NOT NULL CHECK (members >= 0),
  UNIQUE (low, high),
  CHECK (number % 2 = 0),
  CHECK (kind = 1 AND low < high OR kind IN (2, 4) AND low IS NULL AND high IS NULL)
) STRICT;
INSERT INTO channels_2 SELECT *, (SELECT count(*) FROM members WHERE channel = number) FROM channels;
DROP TABLE channels;
ALTER TABLE channels_2 RENAME TO channels;

-- role: 1 owner, 2 member, 3 moderator, 4 reader.
CREATE TABLE members_2 (
  channel INTEGER NOT NULL REFERENCES channels,
  user INTEGER NOT NULL REFERENCES users,
  role INTEGER NOT NULL CHECK (role IN (1, 2, 3, 4)),
  from_seq INTEGER NOT NULL,
  PRIMARY KEY (channel, user)
) STRICT, WITHOUT ROWID;
INSERT INTO members_2 SELECT * FROM members;
DROP TABLE members;
ALTER TABLE members_2 RENAME TO members;
CREATE UNIQUE INDEX channels_of_user ON members (user, channel);
CREATE UNIQUE INDEX owner_of_channel ON members (channel) WHERE role = 1;
CREATE INDEX writers_of_channel ON members (channel, user) WHERE role <> 4;

-- user: 0 for a command that no person gave.
CREATE TABLE commands_2 (
  key BLOB NOT NULL,
  user INTEGER NOT NULL,
  body INTEGER NOT NULL,
  channel INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (key, user)
) STRICT, WITHOUT ROWID;
INSERT INTO commands_2 SELECT * FROM commands;
DROP TABLE commands;
ALTER TABLE commands_2 RENAME TO commands;

-- event: none where a change of rights is told to the shards alone.
CREATE TABLE outbox_2 (
  id INTEGER PRIMARY KEY,
  channel INTEGER NOT NULL,
  key BLOB NOT NULL,
  at_seq INTEGER NOT NULL,
  event BLOB,
  change BLOB,
  CHECK (event IS NOT NULL OR change IS NOT NULL)
) STRICT;
INSERT INTO outbox_2 SELECT * FROM outbox;
DROP TABLE outbox;
ALTER TABLE outbox_2 RENAME TO outbox;
CREATE INDEX outbox_of_channel ON outbox (channel, id);
";

/// A backend's keys of channels, and its notes: a JSON object of texts, or nothing.
const VERSION_3: &str = "
ALTER TABLE channels ADD COLUMN key TEXT;
CREATE UNIQUE INDEX channel_by_key ON channels (key) WHERE key IS NOT NULL;
ALTER TABLE channels ADD COLUMN custom TEXT;
ALTER TABLE users ADD COLUMN custom TEXT;
";

/// Who may not write for a while, and who is kept out. Times of day, milliseconds; a ban until 0 is
/// for ever.
const VERSION_4: &str = "
ALTER TABLE members ADD COLUMN muted_until_ms INTEGER NOT NULL DEFAULT 0;
CREATE TABLE bans (
  channel INTEGER NOT NULL REFERENCES channels,
  user INTEGER NOT NULL REFERENCES users,
  until_ms INTEGER NOT NULL,
  PRIMARY KEY (channel, user)
) STRICT, WITHOUT ROWID;
";

/// Whose tokens count from when on, and devices.
const VERSION_5: &str = "
ALTER TABLE users ADD COLUMN not_before_ms INTEGER NOT NULL DEFAULT 0;

-- proof: SHA-256 of what the device was told. It counts once it was presented (is_proven).
-- seen_ms: at the last login, give or take a week.
CREATE TABLE devices (
  user INTEGER NOT NULL REFERENCES users,
  device TEXT NOT NULL,
  proof BLOB NOT NULL CHECK (length(proof) = 32),
  is_proven INTEGER NOT NULL CHECK (is_proven IN (0, 1)),
  made_ms INTEGER NOT NULL,
  seen_ms INTEGER NOT NULL,
  is_revoked INTEGER NOT NULL CHECK (is_revoked IN (0, 1)),
  PRIMARY KEY (user, device)
) STRICT, WITHOUT ROWID;
";

/// A backend's keys, and what its requests are known by.
const VERSION_6: &str = "
-- secret: its SHA-256. scopes: names with commas between them. revoked_ms: none while it is good.
CREATE TABLE service_keys (
  id INTEGER PRIMARY KEY,
  secret BLOB NOT NULL CHECK (length(secret) = 32),
  name TEXT NOT NULL,
  scopes TEXT NOT NULL,
  made_ms INTEGER NOT NULL,
  revoked_ms INTEGER
) STRICT;

-- header: what the backend calls the request. key: what it is known by inside, time first.
CREATE TABLE service_requests (
  service_key INTEGER NOT NULL REFERENCES service_keys,
  header TEXT NOT NULL,
  key BLOB NOT NULL,
  body INTEGER NOT NULL,
  PRIMARY KEY (service_key, header)
) STRICT, WITHOUT ROWID;
CREATE INDEX oldest_service_request ON service_requests (key);
";

/// Who blocks whom.
const VERSION_7: &str = "
CREATE TABLE blocks (
  user INTEGER NOT NULL REFERENCES users,
  blocked INTEGER NOT NULL REFERENCES users,
  PRIMARY KEY (user, blocked)
) STRICT, WITHOUT ROWID;
";

/// Makes the tables, brings those of an older version up to this one, or checks that those that are
/// there can be used. Writes nothing before it knows. References must not be kept meanwhile.
///
/// # Errors
/// [`DirectoryError::Unfit`]: another program's file, or a newer version's.
pub(super) fn prepare(connection: &mut Connection, path: &str) -> Result<(), DirectoryError> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    match (application, done) {
        (APPLICATION, done) if done == STEPS.len() => Ok(()),
        (APPLICATION, done) if (1..STEPS.len()).contains(&done) => {
            tracing::info!(
                path,
                from = done,
                to = STEPS.len(),
                "the directory is brought up to date"
            );
            Ok(make(connection.transaction()?, done)?)
        }
        (0, 0) if tables == 0 => Ok(make(connection.transaction()?, 0)?),
        (APPLICATION, newer) if newer > STEPS.len() => Err(DirectoryError::Unfit(format!(
            "{path} has format {version}, this server knows formats up to {}: \
             start the version of damso that wrote it, or a newer one",
            STEPS.len()
        ))),
        _ => Err(DirectoryError::Unfit(format!("{path} is not a directory of damso"))),
    }
}

/// Takes the steps behind those that were `done`, all or none of them.
fn make(transaction: Transaction<'_>, done: usize) -> Result<(), rusqlite::Error> {
    for step in STEPS.iter().skip(done) {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", i64::try_from(STEPS.len()).unwrap_or(0))?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_version(steps: &[&str]) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "foreign_keys", false).unwrap();
        steps.iter().for_each(|step| connection.execute_batch(step).unwrap());
        connection.pragma_update(None, "application_id", APPLICATION).unwrap();
        connection.pragma_update(None, "user_version", steps.len() as i64).unwrap();
        connection
    }

    fn tables(connection: &Connection) -> Vec<(String, Option<String>)> {
        let sql = "SELECT name, sql FROM sqlite_schema ORDER BY name";
        let mut rows = connection.prepare(sql).unwrap();
        let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn an_older_file_becomes_what_a_new_one_is_and_keeps_what_it_holds() {
        let mut new = Connection::open_in_memory().unwrap();
        prepare(&mut new, "new").unwrap();
        for done in 1..STEPS.len() {
            let mut old = at_version(&STEPS[..done]);
            let members = if done == 1 { "" } else { ", members" };
            let count = if done == 1 { "" } else { ", 2" };
            let rows = format!(
                "INSERT INTO users (number, uid, made_ms) VALUES (1, 'a', 0), (2, 'b', 0);
                 INSERT INTO channels (number, kind, name, version, made_ms{members})
                 VALUES (2, 2, 'g', 1, 0{count});
                 INSERT INTO members (channel, user, role, from_seq)
                 VALUES (2, 1, 1, 1), (2, 2, 2, 1);
                 INSERT INTO outbox VALUES (1, 2, x'00', 1, x'00', NULL);"
            );
            old.execute_batch(&rows).unwrap();
            prepare(&mut old, "old").unwrap();
            assert_eq!(tables(&old), tables(&new), "from version {done}");
            let broken: i64 = old
                .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))
                .unwrap();
            let counted: i64 =
                old.query_row("SELECT members FROM channels", [], |row| row.get(0)).unwrap();
            assert_eq!((broken, counted), (0, 2));
        }
    }
}
