//! The partition map: a channel's partition, and all partitions as one log.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use damso_proto::id::{ChannelNo, Epoch, Key, MessageId, UserNo};

use super::committer::Committer;
use super::keeper::{Keeper, Mark};
use super::layout::Layout;
use super::metrics::Metrics;
use super::open::{self, OpenPartition, State};
use super::options::{CAPABILITIES, Options};
use super::queue::Queue;
use super::read;
use super::schema::Tables;
use crate::runtime::clock::Clock;
use crate::store::log::{
    Capabilities, ChannelLog, FeedPosition, FeedRow, Head, KeyRow, Opened, Range, Run, Sink,
    StoreError, StoredEvent,
};

/// A group's place in the feed is its partition in the upper 16 bits, its number in the lower 48:
/// each partition has a feed of its own, dense from 1.
const FEED_PARTITION_SHIFT: u32 = 48;

/// History on disk: one fjall database for each partition.
pub struct FjallLog {
    partitions: Vec<Partition>,
    layout: Layout,
}

impl FjallLog {
    /// Opens the store, or makes it. Blocks: a crash leaves up to 128 MiB to replay.
    ///
    /// # Errors
    /// [`StoreError::Unfit`]: it must not be served, and the text says what to do;
    /// [`StoreError::Io`]: trying again may help.
    pub fn open(
        options: &Options,
        sink: Arc<dyn Sink>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let layout = Layout::open(options)?;
        let partitions = (0..layout.partitions)
            .map(|number| Partition::open(&layout, number, options, sink.clone(), clock.clone()))
            .collect::<Result<_, _>>()?;
        Ok(Self { partitions, layout })
    }

    /// The database of a partition, for tests that meddle with it.
    #[cfg(test)]
    pub(super) fn tables(&self, partition: usize) -> &Tables {
        &self.partitions[partition].tables
    }

    fn partition(&self, channel: ChannelNo) -> &Partition {
        &self.partitions[partition_of(channel, self.partitions.len())]
    }
}

/// Which partition holds a channel, for as long as the store lives: never change this.
fn partition_of(channel: ChannelNo, partitions: usize) -> usize {
    // The finaliser of MurmurHash3: neighbouring numbers spread evenly.
    let mut mixed = channel.get();
    mixed = (mixed ^ mixed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^= mixed >> 33;
    usize::try_from(mixed % partitions.max(1) as u64).unwrap_or(0)
}

impl Drop for FjallLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl ChannelLog for FjallLog {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn epoch(&self) -> Epoch {
        self.layout.epoch
    }

    fn high_water(&self) -> MessageId {
        let marks = self.partitions.iter().map(|partition| &partition.mark);
        marks.map(|mark| mark.durable().high_water).max().unwrap_or_default()
    }

    fn writable(&self) -> Result<(), String> {
        self.partitions.iter().try_for_each(|partition| partition.queue.writable())
    }

    fn open(&self, channel: ChannelNo, keys_from_ms: u64) -> Result<Opened, StoreError> {
        let partition = self.partition(channel);
        partition.seen(read::open(&partition.tables, channel, keys_from_ms))
    }

    fn append(&self, run: Run) {
        self.partition(run.channel).queue.append(run);
    }

    fn read(&self, channel: ChannelNo, range: Range) -> Result<Vec<StoredEvent>, StoreError> {
        let partition = self.partition(channel);
        partition.seen(read::page(&partition.tables, channel, range))
    }

    fn heads(&self, channels: &[ChannelNo]) -> Result<Vec<Head>, StoreError> {
        let snapshots: Vec<_> =
            self.partitions.iter().map(|partition| partition.tables.snapshot()).collect();
        let head = |channel: &ChannelNo| {
            let number = partition_of(*channel, self.partitions.len());
            let partition = &self.partitions[number];
            partition.seen(read::head(&partition.tables, &snapshots[number], *channel))
        };
        channels.iter().map(head).collect()
    }

    fn find_key(
        &self,
        channel: ChannelNo,
        user: UserNo,
        key: Key,
    ) -> Result<Option<KeyRow>, StoreError> {
        read::find_key(&self.partition(channel).tables, channel, user, key)
    }

    fn feed(&self, from: FeedPosition, rows_max: usize) -> Result<Vec<FeedRow>, StoreError> {
        let number = from.0 >> FEED_PARTITION_SHIFT;
        let partition = usize::try_from(number).ok().and_then(|at| self.partitions.get(at));
        let base = number << FEED_PARTITION_SHIFT;
        match partition {
            Some(partition) => read::feed(&partition.tables, base, from.0 - base, rows_max),
            None => Ok(Vec::new()),
        }
    }

    /// Must not be called from a sink: it waits for the thread that calls the sink.
    fn close(&self) {
        for partition in &self.partitions {
            partition.queue.close();
        }
        for partition in &self.partitions {
            partition.close();
        }
    }
}

/// One database with the threads that write it.
struct Partition {
    tables: Arc<Tables>,
    queue: Arc<Queue>,
    mark: Arc<Mark>,
    state: State,
    /// Taken by whoever closes.
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    committer: JoinHandle<()>,
    keeper: JoinHandle<()>,
}

impl Partition {
    fn open(
        layout: &Layout,
        number: u16,
        options: &Options,
        sink: Arc<dyn Sink>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let OpenPartition { tables, watermark, last, state } = open::open(layout, number, options)?;
        let tables = Arc::new(tables);
        let queue = Arc::new(Queue::new(sink, Metrics::register(number)));
        let mark = Arc::new(Mark::new(last));
        let keeper = Keeper::new(mark.clone(), queue.clone(), watermark, options);
        let feed_base = u64::from(number) << FEED_PARTITION_SHIFT;
        let (epoch, last) = (layout.epoch, mark.durable());
        let committer = Committer::new(
            tables.clone(),
            queue.clone(),
            mark.clone(),
            clock,
            epoch,
            feed_base,
            last,
        );
        let keeper = spawn(format!("history-keep-{number}"), || keeper.run())?;
        let committer = spawn(format!("history-write-{number}"), || committer.run())?;
        let threads = Mutex::new(Some(Threads { committer, keeper }));
        Ok(Self { tables, queue, mark, state, threads })
    }

    /// Counts reads that met damage.
    fn seen<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Damaged { .. }) = &read {
            self.queue.metrics.damaged_reads.increment(1);
        }
        read
    }

    /// Waits for the last commit and watermark, and leaves word that nothing needs recovery.
    fn close(&self) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Threads { committer, keeper }) = threads else { return };
        let committed = committer.join();
        self.mark.close();
        let kept = keeper.join();
        if committed.is_err() || kept.is_err() || self.queue.stopped().is_some() {
            return;
        }
        let persisted = self.tables.persist().map_err(|why| why.to_string());
        let clean =
            persisted.and_then(|()| self.state.stopped_cleanly().map_err(|why| why.to_string()));
        if let Err(why) = clean {
            tracing::warn!(why, "the next start of the history store will recover it");
        }
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    let spawned = thread::Builder::new().name(name).spawn(run);
    spawned.map_err(|source| StoreError::Io { action: "start a thread".to_owned(), source })
}
