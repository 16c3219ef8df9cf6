//! What stands in the end: history read back by paging, and the verdict over a whole run.

use std::collections::HashMap;
use std::time::Duration;

use damso_client::{ChannelNo, Client, Content, Event, Position, Seq, Snapshot};
use damso_loadtest::checker::{Checker, Observation, ReceiverNo, Verdict};

use super::crash_fleet::{Fleet, connect};
use super::crash_world::{World, seen};

/// Rows of a page; the server has its own limit.
const ROWS: u32 = 100;
/// More pages of one channel are no history of a test.
const PAGES_MAX: usize = 100_000;
/// A page that is not answered by then never is.
const PAGE_MAX: Duration = Duration::from_secs(60);
/// Numbers of readers, apart from those of the fleet's devices.
const READERS: u64 = 1 << 32;

/// Reads every room and everybody's own log through fresh clients. Returns the heads.
pub(crate) fn read_back(fleet: &Fleet) -> HashMap<ChannelNo, Seq> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut heads = HashMap::new();
    runtime.expect("a runtime").block_on(async {
        for (at, string) in fleet.strings.iter().enumerate() {
            let client = connect(string, ReceiverNo(READERS + at as u64), Snapshot::default());
            let rooms = fleet.rooms.iter().filter(|room| room.members[0] == at);
            let own = ChannelNo::self_of(fleet.users[at]);
            for channel in rooms.map(|room| room.channel).chain([own]) {
                heads.insert(channel, read_channel(&client, channel, &fleet.world).await);
            }
        }
    });
    heads
}

/// Reads one channel from its first event to its head.
async fn read_channel(client: &Client, channel: ChannelNo, world: &World) -> Seq {
    let mut at = Seq::ZERO;
    // The last number of each device's texts: a device's messages keep their order.
    let mut last: HashMap<u64, u64> = HashMap::new();
    for _ in 0..PAGES_MAX {
        let page = client.history(channel, Position::After(at), ROWS);
        let page = tokio::time::timeout(PAGE_MAX, page).await.expect("a page in time");
        let page = page.expect("a page of history");
        let mut inner = world.lock();
        for event in &page.events {
            inner.checker.observe(Observation::Stored { seen: seen(event) });
            if let Some((device, number)) = numbered(event) {
                let before = last.insert(device, number).unwrap_or(0);
                if before >= number {
                    let place = format!("channel {channel} seq {}", event.seq);
                    let order = format!("device {device}'s {number} behind its {before}");
                    inner.wrong.push(format!("{place}: {order}"));
                }
            }
        }
        if page.to >= page.head || page.to < page.from {
            let (from, head) = (page.floor.max(Seq::new(1)), page.head);
            inner.checker.observe(Observation::ReadBack { channel, from, head });
            return head;
        }
        at = page.to;
    }
    panic!("channel {channel} has no end");
}

/// The device and the number of a text of the fleet.
fn numbered(event: &Event) -> Option<(u64, u64)> {
    let Content::Text(text) = &event.content else { return None };
    let (device, number) = text.split_once(' ')?;
    Some((device.parse().ok()?, number.parse().ok()?))
}

/// What a run says.
pub(crate) struct Result {
    pub(crate) verdict: Verdict,
    /// What the checker has no law for.
    pub(crate) wrong: Vec<String>,
    /// Answers that named an earlier attempt.
    pub(crate) known: u64,
    /// Sends of devices that were thrown away.
    pub(crate) abandoned: u64,
}

/// Ends the run.
pub(crate) fn judge(mut fleet: Fleet) -> Result {
    fleet.leave();
    let mut inner = fleet.world.lock();
    let checker = std::mem::replace(&mut inner.checker, Checker::new(0));
    let (known, abandoned) = (inner.known, inner.abandoned);
    Result { verdict: checker.finish(), wrong: std::mem::take(&mut inner.wrong), known, abandoned }
}

impl Result {
    /// Fails unless every promise was kept.
    pub(crate) fn must_be_clean(&self) {
        let Self { verdict, wrong, abandoned, .. } = self;
        assert!(verdict.passed() && wrong.is_empty(), "{verdict}\n{}", wrong.join("\n"));
        let counts = verdict.counts;
        assert!(counts.acked > 0 && counts.received > counts.acked, "nothing was looked at");
        assert_eq!((counts.refused, counts.channels_unread), (0, 0), "{verdict}");
        assert!(counts.unanswered <= *abandoned, "{abandoned} abandoned: {verdict}");
    }

    /// The figures of a run in one line.
    pub(crate) fn figures(&self) -> String {
        let counts = self.verdict.counts;
        format!(
            "{} sends, {} repeated, {} answered as known, {} acks, {} receipts, {} read back",
            counts.sends, counts.repeats, self.known, counts.acked, counts.received, counts.stored
        )
    }
}
