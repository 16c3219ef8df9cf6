//! How much there is to do.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::ask::{Answer, Ask};
use super::problem::Problem;

#[derive(Serialize)]
struct Stats {
    people_here: usize,
    connections: usize,
    channels_at_work: usize,
    uptime_s: u64,
    version: &'static str,
}

pub(super) async fn now(ask: Ask) -> Result<Answer, Problem> {
    let api = &ask.api;
    let (mut people_here, mut channels_at_work) = (0, 0);
    for shard in api.parts.errands.shards() {
        let counted = api.carry_out(shard, ask.place.clone(), |floors, _| {
            Box::pin(async move { floors.delivery.borrow().counts() })
        });
        let (people, channels) = counted.await?;
        people_here += people;
        channels_at_work += channels;
    }
    Answer::of(&Stats {
        people_here,
        connections: api.parts.connections.load(Ordering::Relaxed),
        channels_at_work,
        uptime_s: api.parts.clock.now().since(api.began).as_secs(),
        version: api.parts.version,
    })
}
