//! The engine under the contract, under damage, and under a full disk.

use std::sync::Arc;

use super::{FjallLog, Options};
use crate::runtime::clock::RealClock;
use crate::store::contract::{Engine, contract};
use crate::store::log::{ChannelLog, Sink, StoreError};

/// A store in a directory of its own.
struct OnDisk {
    _directory: tempfile::TempDir,
    options: Options,
}

fn on_disk(partitions: u16) -> OnDisk {
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(directory.path().join("history"));
    options.partitions = partitions;
    options.space_reserve_bytes = 0;
    OnDisk { _directory: directory, options }
}

impl OnDisk {
    fn try_start(&self, sink: Arc<dyn Sink>) -> Result<Arc<dyn ChannelLog>, StoreError> {
        let log = FjallLog::open(&self.options, sink, Arc::new(RealClock::new()))?;
        Ok(Arc::new(log))
    }
}

impl Engine for OnDisk {
    fn start(&self, sink: Arc<dyn Sink>) -> Arc<dyn ChannelLog> {
        self.try_start(sink).unwrap()
    }
}

mod with_one_partition {
    use super::*;
    contract!(on_disk(1));
}
