//! The keyspaces of one partition, and the row that all of them share.
//!
//! ```text
//! events  event -> record            heads  channel -> head
//! parts   part  -> rest of a body    keys   idempotency key -> where its event stands
//! feed    group -> channel ranges    meta   heartbeat
//! ```
//!
//! Keyspaces are flushed each alone, so a damaged journal can take the newest groups from
//! one and leave them in another. Every batch therefore writes the last group into *every*
//! keyspace, and at open all must agree.

use std::path::Path;

use fjall::config::{BlockSizePolicy, BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable};

use super::key;
use super::options::{
    EVENTS_BLOCK_BYTES, EVENTS_MEMTABLE_BYTES, JOURNAL_BYTES_MAX, OTHER_MEMTABLE_BYTES, Options,
    Sync,
};
use super::row::{self, LastGroup};

/// Names of the keyspaces, in the order of [`Tables::all`].
pub(super) const NAMES: [&str; 6] = ["events", "parts", "heads", "keys", "feed", "meta"];

/// Key of the heartbeat row in `meta`.
const HEARTBEAT: &[u8] = b"heartbeat";

/// An open partition. The keyspaces are dropped before the database, which would wait for them.
pub(super) struct Tables {
    pub(super) events: Keyspace,
    pub(super) parts: Keyspace,
    pub(super) heads: Keyspace,
    pub(super) keys: Keyspace,
    pub(super) feed: Keyspace,
    meta: Keyspace,
    sync: Sync,
    db: Database,
}

impl Tables {
    /// Opens or makes the database in `directory`. What is opened keeps the settings of its making.
    pub(super) fn open(directory: &Path, options: &Options) -> fjall::Result<Self> {
        let db = Database::builder(directory)
            .cache_size(options.cache_bytes)
            .max_cached_files(Some(options.cached_files_max.max(10)))
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(options.workers.max(1))
            .open()?;
        let keyspace = |name: &str| db.keyspace(name, || keyspace_options(name));
        Ok(Self {
            events: keyspace("events")?,
            parts: keyspace("parts")?,
            heads: keyspace("heads")?,
            keys: keyspace("keys")?,
            feed: keyspace("feed")?,
            meta: keyspace("meta")?,
            sync: options.sync,
            db,
        })
    }

    /// All keyspaces, in the order of [`NAMES`].
    fn all(&self) -> [&Keyspace; NAMES.len()] {
        [&self.events, &self.parts, &self.heads, &self.keys, &self.feed, &self.meta]
    }

    /// A batch that is durable once committed.
    pub(super) fn batch(&self, capacity: usize) -> OwnedWriteBatch {
        let mode = match self.sync {
            Sync::Data => PersistMode::SyncData,
            Sync::SkipForTests => PersistMode::Buffer,
        };
        OwnedWriteBatch::with_capacity(self.db.clone(), capacity).durability(Some(mode))
    }

    /// Adds the last group to every keyspace.
    pub(super) fn put_last(&self, batch: &mut OwnedWriteBatch, last: LastGroup) {
        let row = fjall::Slice::from(row::encode_last(&key::LAST_GROUP, last));
        for keyspace in self.all() {
            batch.insert(keyspace, key::LAST_GROUP, row.clone());
        }
    }

    /// The last group as each keyspace has it. `None`: absent or damaged.
    pub(super) fn last_groups(&self) -> fjall::Result<[Option<LastGroup>; NAMES.len()]> {
        let snapshot = self.snapshot();
        let mut last = [None; NAMES.len()];
        for (last, keyspace) in last.iter_mut().zip(self.all()) {
            let row = snapshot.get(keyspace, key::LAST_GROUP)?;
            *last = row.and_then(|row| row::decode_last(&key::LAST_GROUP, &row));
        }
        Ok(last)
    }

    /// Writes a row of no meaning: it succeeds as long as the database takes writes.
    pub(super) fn beat(&self, count: u64) -> fjall::Result<()> {
        let mut batch = self.batch(1);
        batch.insert(&self.meta, HEARTBEAT, count.to_be_bytes());
        batch.commit()
    }

    /// A view in which all rows are of the same group.
    pub(super) fn snapshot(&self) -> fjall::Snapshot {
        self.db.snapshot()
    }

    /// Bytes that a crash would make the next start replay.
    pub(super) fn unflushed_bytes(&self) -> u64 {
        self.db.write_buffer_size()
    }

    /// Memtables that wait to be flushed, in the keyspace that has most.
    pub(super) fn sealed_memtables(&self) -> usize {
        self.all().into_iter().map(Keyspace::sealed_memtable_count).max().unwrap_or_default()
    }

    /// Waits until everything written is on the disk.
    pub(super) fn persist(&self) -> fjall::Result<()> {
        self.db.persist(PersistMode::SyncAll)
    }
}

/// Plain levelled trees; the engine stores these at creation and ignores others later.
fn keyspace_options(name: &str) -> KeyspaceCreateOptions {
    let options = KeyspaceCreateOptions::default();
    match name {
        // Read by range and by keys that exist: no filter on the largest level.
        "events" => options
            .max_memtable_size(EVENTS_MEMTABLE_BYTES)
            .data_block_size_policy(BlockSizePolicy::all(EVENTS_BLOCK_BYTES))
            .expect_point_read_hits(true),
        // Most look-ups are of keys that are absent.
        "keys" => options.max_memtable_size(OTHER_MEMTABLE_BYTES).filter_policy(FilterPolicy::all(
            FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0)),
        )),
        _ => options.max_memtable_size(OTHER_MEMTABLE_BYTES),
    }
}
