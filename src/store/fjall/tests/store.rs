//! A store in a directory of its own, and the contract on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use damso_proto::id::{ChannelNo, Seq};

use crate::runtime::clock::RealClock;
use crate::store::contract::{Engine, Recorder, contract};
use crate::store::fjall::schema::Tables;
use crate::store::fjall::{FjallLog, Options};
use crate::store::log::{ChannelLog, Order, Range, Sink, StoreError};

/// Everything of a channel.
pub(super) const ALL: Range = Range {
    from: Seq::new(1),
    to: Seq::MAX,
    order: Order::Rising,
    rows_max: usize::MAX,
    bytes_max: usize::MAX,
};

/// A store in a directory of its own.
pub(super) struct OnDisk {
    _directory: Option<tempfile::TempDir>,
    pub(super) options: Options,
}

/// A store that is not made yet.
pub(super) fn on_disk(partitions: u16) -> OnDisk {
    let directory = tempfile::tempdir().unwrap();
    let mut store = OnDisk::at(directory.path());
    store.options.partitions = partitions;
    store._directory = Some(directory);
    store
}

impl OnDisk {
    /// The store in a directory that somebody else removes.
    pub(super) fn at(directory: &Path) -> Self {
        let mut options = Options::new(directory.join("history"));
        options.space_reserve_bytes = 0;
        Self { _directory: None, options }
    }

    pub(super) fn open(&self, sink: Arc<dyn Sink>) -> Result<FjallLog, StoreError> {
        FjallLog::open(&self.options, sink, Arc::new(RealClock::new()))
    }

    /// Why it is not served. Panics if it is.
    pub(super) fn refusal(&self) -> String {
        match self.open(Arc::new(Recorder::default())) {
            Err(StoreError::Unfit(why)) => why,
            Err(why) => panic!("another error: {why}"),
            Ok(_) => panic!("it is served"),
        }
    }

    /// The database without any of the checks. Nothing else may have it open.
    pub(super) fn tables(&self) -> Tables {
        Tables::open(&self.path("db"), &self.options).unwrap()
    }

    /// A path within the first partition.
    pub(super) fn path(&self, within: &str) -> PathBuf {
        self.options.directory.join("p0").join(within)
    }

    /// Makes a clean stop look like a crash.
    pub(super) fn pretend_crash(&self) {
        fs::write(self.path("state"), "serving\n").unwrap();
    }

    /// Copies of journals, oldest first.
    pub(super) fn journal_copies(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("")).unwrap().map(|entry| entry.unwrap().path());
        let mut copies: Vec<_> =
            entries.filter(|path| path.to_string_lossy().contains("/journals-")).collect();
        copies.sort();
        copies
    }
}

impl Engine for OnDisk {
    fn start(&self, sink: Arc<dyn Sink>) -> Arc<dyn ChannelLog> {
        Arc::new(self.open(sink).unwrap())
    }
}

/// Seqs of a channel, which must be readable.
pub(super) fn seqs(log: &dyn ChannelLog, channel: u64) -> Vec<u64> {
    let events = log.read(ChannelNo::new(channel), ALL).unwrap();
    events.iter().map(|event| event.seq.get()).collect()
}

mod with_one_partition {
    use super::*;
    contract!(on_disk(1));
}

/// Laws that do not count positions of the feed: each partition has its own.
mod with_three_partitions {
    use super::*;
    contract!(on_disk(3);
        seqs_are_dense_from_one,
        a_run_on_another_head_conflicts_and_leaves_nothing,
        a_key_is_found_by_its_own_user_and_channel_alone,
        open_returns_the_keys_from_its_horizon_on_oldest_first,
        heads_come_in_the_order_asked_and_unknown_channels_are_empty,
        the_high_water_is_the_largest_committed_id,
        close_commits_what_was_handed_over_and_then_refuses,
        reopening_finds_the_same
    );
}
