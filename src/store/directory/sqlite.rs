//! The embedded engine: one SQLite file, one connection that writes, a few that read.
//!
//! ```text
//! commands --> writer (one, IMMEDIATE, WAL, synchronous FULL: committed = on disk)
//! reads    --> readers (read-only, each a snapshot of its own; none in memory: the writer reads)
//! ```

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use damso_proto::id::{ChannelNo, Seq, Uid, UserNo};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::admission::{Admission, Login, Provision};
use super::commands::{self, Work};
use super::records::{
    Ban, Channel, Command, Done, Heading, Joining, Member, Membership, Moved, NewChannel, OutboxId,
    OutboxRow, User,
};
use super::seam::{Directory, DirectoryError, Options};
use super::{devices, reads, schema};
use crate::model::device::DeviceId;
use crate::model::naming::{ChannelKey, CustomMap};
use crate::model::rights::Role;
use crate::model::update::ChannelUpdate;
use crate::runtime::private_file;
use crate::runtime::random::Random;

/// As many as the blocking door has threads for the directory; more would only wait.
const READERS: usize = 4;
/// Pages that a reader keeps, KiB: the upper levels of the trees. Any commit empties it, and the
/// system has the file's pages in any case.
const READER_CACHE_KIB: i64 = 512;
/// Statements kept compiled by a connection: more than there are.
const STATEMENTS_KEPT: usize = 64;
/// An operator's `sqlite3` may hold a lock for so long, milliseconds.
const BUSY_MS: u64 = 5_000;

type Result<T> = std::result::Result<T, DirectoryError>;

/// A directory in SQLite.
pub struct Sqlite {
    /// Held for a whole transaction; every command waits here for its turn.
    writer: Mutex<Connection>,
    /// Each held for one read.
    readers: Vec<Mutex<Connection>>,
    next_reader: AtomicUsize,
    /// Raised behind each commit of a revocation, read by whoever lets somebody in.
    revocations: AtomicU64,
    random: Arc<dyn Random>,
    options: Options,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sqlite").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Sqlite {
    /// Opens the file at `path`, or makes it, for its owner alone.
    ///
    /// # Errors
    /// [`DirectoryError::Unfit`] for a file of another program or a newer version, which is
    /// left as it is; [`DirectoryError::Engine`].
    pub fn open(path: &Path, options: Options, random: Arc<dyn Random>) -> Result<Self> {
        make_private(path).map_err(|error| {
            DirectoryError::Unfit(format!("cannot open {}: {error}", path.display()))
        })?;
        let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let writer = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let made = Self::with_writer(writer, &path.display().to_string(), options, random)?;
        let readers = (0..READERS).map(|_| {
            let flags = flags | OpenFlags::SQLITE_OPEN_READ_ONLY;
            let reader = Connection::open_with_flags(path, flags)?;
            set_up(&reader)?;
            reader.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
            Ok(Mutex::new(reader))
        });
        Ok(Self { readers: readers.collect::<Result<_>>()?, ..made })
    }

    /// A directory that ends with the process. For tests and simulation.
    ///
    /// # Errors
    /// [`DirectoryError::Engine`]: out of memory.
    pub fn in_memory(options: Options, random: Arc<dyn Random>) -> Result<Self> {
        Self::with_writer(Connection::open_in_memory()?, "memory", options, random)
    }

    fn with_writer(
        mut writer: Connection,
        path: &str,
        options: Options,
        random: Arc<dyn Random>,
    ) -> Result<Self> {
        set_up(&writer)?;
        // A table that is copied must not take along the rows that refer to it.
        writer.pragma_update(None, "foreign_keys", false)?;
        schema::prepare(&mut writer, path)?;
        // Answers "memory" where there is no file, which is all right.
        writer.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        writer.pragma_update(None, "synchronous", "FULL")?;
        writer.pragma_update(None, "foreign_keys", true)?;
        Ok(Self {
            writer: Mutex::new(writer),
            readers: Vec::new(),
            next_reader: AtomicUsize::new(0),
            revocations: AtomicU64::new(0),
            random,
            options,
        })
    }

    fn command(
        &self,
        command: &Command,
        change: impl FnOnce(&mut Work<'_>) -> Result<(ChannelNo, Seq)>,
    ) -> Result<Done> {
        self.write(|db| {
            let (random, options) = (&*self.random, &self.options);
            Work { db, random, options, command, rows: Vec::new() }.once(change)
        })
    }

    /// Runs `change` in one transaction, undone whole if it fails or panics.
    pub(super) fn write<T>(&self, change: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let mut writer = lock(&self.writer);
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = change(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    fn reader(&self) -> MutexGuard<'_, Connection> {
        if self.readers.is_empty() {
            return lock(&self.writer);
        }
        if let Some(free) = self.readers.iter().find_map(|reader| reader.try_lock().ok()) {
            return free;
        }
        let next = self.next_reader.fetch_add(1, Ordering::Relaxed);
        lock(&self.readers[next % self.readers.len()])
    }

    /// Runs `ask` on one state of the directory.
    pub(super) fn read<T>(
        &self,
        ask: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let mut reader = self.reader();
        let transaction = reader.transaction()?;
        Ok(ask(&transaction)?)
    }
}

impl Directory for Sqlite {
    fn find_or_make_user(&self, uid: &Uid, now_ms: u64) -> Result<User> {
        match self.read(|db| reads::user_by_uid(db, uid))? {
            Some(found) => Ok(found),
            None => self.write(|db| commands::find_or_make_user(db, uid, now_ms)),
        }
    }

    fn admit(&self, login: &Login, provision: Provision, now_ms: u64) -> Result<Admission> {
        match self.read(|db| devices::judge(db, login, provision, now_ms))? {
            Some(admission) => Ok(admission),
            None => self.write(|db| devices::admit(db, login, provision, now_ms)),
        }
    }

    fn may_stay(&self, uid: &Uid, device: &DeviceId, issued_ms: u64) -> Result<Option<UserNo>> {
        self.read(|db| devices::may_stay(db, uid, device, issued_ms))
    }

    fn revoke(&self, uid: &Uid, device: Option<&DeviceId>, now_ms: u64) -> Result<Option<UserNo>> {
        let revoked = self.write(|db| devices::revoke(db, uid, device, now_ms));
        // After an error as well: it may be committed.
        self.revocations.fetch_add(1, Ordering::AcqRel);
        revoked
    }

    fn revocations(&self) -> u64 {
        self.revocations.load(Ordering::Acquire)
    }

    fn users(&self, numbers: &[UserNo]) -> Result<Vec<User>> {
        self.read(|db| {
            numbers.iter().filter_map(|user| reads::user(db, *user).transpose()).collect()
        })
    }

    fn users_by_uid(&self, uids: &[Uid]) -> Result<Vec<User>> {
        self.read(|db| {
            uids.iter().filter_map(|uid| reads::user_by_uid(db, uid).transpose()).collect()
        })
    }

    fn channel(&self, channel: ChannelNo) -> Result<Option<Channel>> {
        self.read(|db| reads::channel(db, channel))
    }

    fn memberships(&self, user: UserNo, after: ChannelNo, max: usize) -> Result<Vec<Membership>> {
        self.read(|db| reads::memberships(db, user, after, max))
    }

    fn membership(&self, user: UserNo, channel: ChannelNo) -> Result<Option<Membership>> {
        self.read(|db| reads::membership(db, user, channel))
    }

    fn members(&self, channel: ChannelNo, after: UserNo, max: usize) -> Result<Vec<(Member, Uid)>> {
        self.read(|db| reads::members(db, channel, after, max))
    }

    fn answered(&self, command: &Command) -> Result<Option<Done>> {
        let mut reader = self.reader();
        let transaction = reader.transaction()?;
        commands::known(&transaction, command)
    }

    fn heading(&self, channel: ChannelNo) -> Result<Option<Heading>> {
        self.read(|db| reads::heading(db, channel))
    }

    fn channel_by_key(&self, key: &ChannelKey) -> Result<Option<ChannelNo>> {
        self.read(|db| reads::channel_by_key(db, key))
    }

    fn note_on_user(&self, command: &Command, user: UserNo, custom: &CustomMap) -> Result<User> {
        self.command(command, |work| work.note_on_user(user, custom))?;
        self.users(&[user])?.pop().ok_or(DirectoryError::NoUser(user))
    }

    fn create_channel(
        &self,
        command: &Command,
        new: &NewChannel<'_>,
        others: &[UserNo],
    ) -> Result<Done> {
        self.command(command, |work| work.create_channel(new, others))
    }

    fn open_direct(&self, command: &Command, user: UserNo, peer: UserNo) -> Result<Done> {
        self.command(command, |work| work.open_direct(user, peer))
    }

    fn update_channel(
        &self,
        command: &Command,
        channel: ChannelNo,
        update: &ChannelUpdate,
        at: Seq,
    ) -> Result<Done> {
        self.command(command, |work| work.update_channel(channel, update, at))
    }

    fn add_members(
        &self,
        command: &Command,
        channel: ChannelNo,
        joining: &Joining,
        at: Seq,
    ) -> Result<Done> {
        self.command(command, |work| work.add_members(channel, joining, at))
    }

    fn mute_member(
        &self,
        command: &Command,
        channel: ChannelNo,
        user: UserNo,
        until_ms: u64,
        at: Seq,
    ) -> Result<Done> {
        self.command(command, |work| work.mute_member(channel, user, until_ms, at))
    }

    fn ban_member(
        &self,
        command: &Command,
        channel: ChannelNo,
        user: UserNo,
        until_ms: u64,
        at: Seq,
    ) -> Result<Done> {
        self.command(command, |work| work.ban_member(channel, user, until_ms, at))
    }

    fn lift_ban(&self, command: &Command, channel: ChannelNo, user: UserNo) -> Result<Done> {
        self.command(command, |work| work.lift_ban(channel, user))
    }

    fn bans(&self, channel: ChannelNo, page: (UserNo, usize), now_ms: u64) -> Result<Vec<Ban>> {
        self.read(|db| reads::bans(db, channel, page, now_ms))
    }

    fn set_role(
        &self,
        command: &Command,
        channel: ChannelNo,
        user: UserNo,
        role: Role,
        at: Seq,
    ) -> Result<Done> {
        self.command(command, |work| work.set_role(channel, user, role, at))
    }

    fn remove_member(
        &self,
        command: &Command,
        channel: ChannelNo,
        user: UserNo,
        at: Seq,
    ) -> Result<Done> {
        self.command(command, |work| work.remove_member(channel, user, at))
    }

    fn set_block(
        &self,
        command: &Command,
        peer: UserNo,
        blocked: bool,
        direct: Option<(ChannelNo, Seq)>,
    ) -> Result<Done> {
        self.command(command, |work| work.set_block(peer, blocked, direct))
    }

    fn blocked_by(&self, user: UserNo, page: (UserNo, usize)) -> Result<Vec<(UserNo, Uid)>> {
        self.read(|db| reads::blocked_by(db, user, page))
    }

    fn outbox(&self, after: OutboxId, max: usize) -> Result<Vec<OutboxRow>> {
        self.read(|db| reads::outbox(db, after, max))
    }

    fn outbox_of(&self, channel: ChannelNo) -> Result<Vec<OutboxRow>> {
        self.read(|db| reads::outbox_of(db, channel))
    }

    fn outbox_done(&self, ids: &[OutboxId], moved: &[Moved]) -> Result<()> {
        self.write(|db| commands::outbox_done(db, ids, moved))
    }
}

fn set_up(connection: &Connection) -> Result<()> {
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(())
}

/// A panic while the lock was held undid its transaction, so the connection is as good as new.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes an empty file, readable by its owner alone. SQLite gives the files that it puts
/// beside it the same rights.
fn make_private(path: &Path) -> std::io::Result<()> {
    match private_file::create(path, &[]) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::random::SeededRandom;

    #[test]
    fn the_writer_waits_for_the_disk_and_keeps_references() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("directory.sqlite");
        let random = Arc::new(SeededRandom::new(1));
        let directory = Sqlite::open(&path, Options::default(), random).unwrap();
        let writer = lock(&directory.writer);
        let number =
            |name| writer.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((number("synchronous"), number("foreign_keys")), (2, 1));
        let journal: String =
            writer.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(journal, "wal");
    }

    #[test]
    fn a_panic_within_a_command_undoes_it_and_the_next_one_works() {
        let random = Arc::new(SeededRandom::new(1));
        let directory = Sqlite::in_memory(Options::default(), random).unwrap();
        let uid = Uid::parse("a").unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            directory.write(|db| -> Result<()> {
                commands::find_or_make_user(db, &uid, 0)?;
                panic!("on purpose")
            })
        }));
        assert!(panicked.is_err());
        assert!(directory.users_by_uid(std::slice::from_ref(&uid)).unwrap().is_empty());
        assert_eq!(directory.find_or_make_user(&uid, 0).unwrap().number, UserNo::new(1));
    }
}
