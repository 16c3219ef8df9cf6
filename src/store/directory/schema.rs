//! The tables of the directory, and the version that made them.

use rusqlite::{Connection, Transaction};

use super::seam::DirectoryError;

/// "dams": tells our files from other people's.
const APPLICATION: i32 = 0x6461_6d73;

/// The newest version that this server reads and writes.
const VERSION: i32 = 1;

/// Numbers are the ones of the wire: even for channels, rising for users, never reused.
const TABLES: &str = "
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

/// Makes the tables, or checks that those that are there can be used. Writes nothing before
/// it knows.
///
/// # Errors
/// [`DirectoryError::Unfit`]: another program's file, or a newer version's.
pub(super) fn prepare(connection: &mut Connection, path: &str) -> Result<(), DirectoryError> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, version) {
        (APPLICATION, VERSION) => Ok(()),
        (0, 0) if tables == 0 => Ok(make(connection.transaction()?)?),
        (APPLICATION, newer) if newer > VERSION => Err(DirectoryError::Unfit(format!(
            "{path} has format {newer}, this server knows formats up to {VERSION}: \
             start the version of damso that wrote it, or a newer one"
        ))),
        _ => Err(DirectoryError::Unfit(format!("{path} is not a directory of damso"))),
    }
}

fn make(transaction: Transaction<'_>) -> Result<(), rusqlite::Error> {
    transaction.execute_batch(TABLES)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}
