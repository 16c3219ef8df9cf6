//! Any engine without its memory of idempotency keys, for seeing that duplicates are noticed.
//!
//! Whoever sends again after the server's end is stored again: neither an owner that opens the
//! channel nor a sender that asks for the outcome learns of the first time.

use std::sync::Arc;

use damso_proto::id::{ChannelNo, Epoch, Key, MessageId, UserNo};

use super::log::{
    Capabilities, ChannelLog, FeedPosition, FeedRow, Head, KeyRow, Opened, Range, Run, StoreError,
    StoredEvent,
};

/// The environment variable that asks for a [`ForgetfulLog`] with the value `1`.
/// **Stores messages twice.**
pub const VARIABLE: &str = "DAMSO_UNSAFE_NO_DEDUPE";

/// See the module's text.
pub struct ForgetfulLog(Arc<dyn ChannelLog>);

impl ForgetfulLog {
    /// Makes `inner` forget.
    pub fn new(inner: Arc<dyn ChannelLog>) -> Self {
        Self(inner)
    }
}

impl ChannelLog for ForgetfulLog {
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn epoch(&self) -> Epoch {
        self.0.epoch()
    }

    fn high_water(&self) -> MessageId {
        self.0.high_water()
    }

    fn writable(&self) -> Result<(), String> {
        self.0.writable()
    }

    fn open(&self, channel: ChannelNo, keys_from_ms: u64) -> Result<Opened, StoreError> {
        let opened = self.0.open(channel, keys_from_ms)?;
        Ok(Opened { keys: Vec::new(), ..opened })
    }

    fn append(&self, run: Run) {
        self.0.append(run);
    }

    fn read(&self, channel: ChannelNo, range: Range) -> Result<Vec<StoredEvent>, StoreError> {
        self.0.read(channel, range)
    }

    fn heads(&self, channels: &[ChannelNo]) -> Result<Vec<Head>, StoreError> {
        self.0.heads(channels)
    }

    fn find_key(&self, _: ChannelNo, _: UserNo, _: Key) -> Result<Option<KeyRow>, StoreError> {
        Ok(None)
    }

    fn feed(&self, from: FeedPosition, rows_max: usize) -> Result<Vec<FeedRow>, StoreError> {
        self.0.feed(from, rows_max)
    }

    fn close(&self) {
        self.0.close();
    }
}
