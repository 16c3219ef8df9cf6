//! A shard's beginning and end: made from what lies below it, drained before it stops.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use damso_proto::code::CloseCode;

use super::reply;
use super::shard::{Options, Shard};
use crate::delivery::{Delivery, Parts};
use crate::requests::Floors;
use crate::runtime::random::Random;
use crate::runtime::shutdown::Farewell;

/// How often a shard that drains is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A shard without sessions, from what lies below it.
pub fn make(parts: Parts, random: Arc<dyn Random>, options: Options) -> Rc<Shard> {
    let (me, home) = (parts.me, parts.home.clone());
    let tools = parts.tools.clone();
    let floors = Floors::new(Delivery::new(parts), tools);
    Shard::new(me, floors, home, random, options)
}

/// No new requests; what is on its way is committed and answered; then everybody is told when to
/// come back, and where.
pub async fn drain(shard: &Shard, farewell: &Farewell) {
    let limits = shard.floors().limits;
    shard.stop_intake();
    until(limits.drain_commit(), || shard.is_quiet()).await;
    tell(shard, farewell);
    until(limits.drain_flush(), || shard.sessions() == 0 && shard.parting() == 0).await;
}

/// Tells every client to come back, each after a time of its own, and to one of the places where it
/// is welcome meanwhile.
fn tell(shard: &Shard, farewell: &Farewell) {
    let ids: Vec<_> = shard.sessions_mut().each().map(|(id, _)| id).collect();
    for id in ids {
        let share = shard.random().number() as f64 / u64::MAX as f64;
        let after = farewell.spread.mul_f64(share);
        let (text, address) = match farewell.to.len() {
            0 => ("the server restarts", ""),
            some => ("the server stops", &*farewell.to[shard.random().number() as usize % some]),
        };
        let frame = reply::closing_to(CloseCode::GoingAway, after, text, address);
        shard.close_with(id, CloseCode::GoingAway, frame);
    }
}

/// Waits until `done`, but not longer than `patience`: nobody may keep a server from its end.
async fn until(patience: Duration, done: impl Fn() -> bool) {
    let looking = async {
        while !done() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    drop(tokio::time::timeout(patience, looking).await);
}
