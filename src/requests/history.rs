//! Requests that read a channel's past.

use damso_proto::id::{ChannelNo, Seq};
use damso_proto::wire;
use prost::Message as _;

use super::floors::Floors;
use super::refusal::Refusal;
use crate::model::deadline::Deadline;
use crate::model::limits::Limits;
use crate::model::rights::{Actor, Op};
use crate::store::log::{Order, Range};

/// Reads one page before or after a position that the caller names.
///
/// Visible are the seqs from the caller's join (or the channel's floor) to its head.
/// `from` and `to` of the page say which seqs it stands for.
///
/// # Errors
/// [`crate::delivery::Refusal::NotFound`] where the channel is absent *or* not the
/// caller's to see; [`Refusal::Store`] (retry is safe) where it cannot be read now.
pub(super) async fn page(
    actor: Actor,
    ask: wire::ReadHistory,
    deadline: Deadline,
    floors: &Floors,
) -> Result<wire::Page, Refusal> {
    let channel = ChannelNo::new(ask.channel);
    let first = floors.reads(actor, channel, Op::Read).await?;
    let page_bytes = floors.modest(floors.limits.page_bytes);
    let (log, limits) = (floors.log.clone(), Limits { page_bytes, ..floors.limits });
    let page = floors
        .behind_door(deadline, move || {
            let head = log.heads(&[channel])?.first().copied();
            let Some(head) = head else { return Ok(None) };
            let floor = first.max(head.floor);
            let range = range(&ask, floor, head.seq, limits);
            let events = if range.from > range.to { Vec::new() } else { log.read(channel, range)? };
            Ok(Some(assemble(channel, events, (floor, head.seq))))
        })
        .await?
        .map_err(Refusal::Store)?;
    // The reader may have been removed while the store was read.
    floors.may(actor, channel, Op::Read)?;
    page.ok_or(Refusal::not_found())
}

fn range(ask: &wire::ReadHistory, floor: Seq, head: Seq, limits: Limits) -> Range {
    let rows = usize::try_from(ask.rows).unwrap_or(usize::MAX);
    let rows_max = if rows == 0 { limits.page_rows } else { rows.min(limits.page_rows) };
    let bytes_max = limits.page_bytes;
    let at = Seq::new(ask.seq);
    match ask.direction() {
        wire::read_history::Direction::After => {
            let from = at.next().max(floor);
            Range { from, to: head, order: Order::Rising, rows_max, bytes_max }
        }
        wire::read_history::Direction::Before => {
            let to = if at == Seq::ZERO { head } else { at.prev().min(head) };
            Range { from: floor, to, order: Order::Falling, rows_max, bytes_max }
        }
    }
}

fn assemble(
    channel: ChannelNo,
    events: Vec<crate::store::log::StoredEvent>,
    (floor, head): (Seq, Seq),
) -> wire::Page {
    let (from, to) = match (events.first(), events.last()) {
        (Some(first), Some(last)) => (first.seq, last.seq),
        _ => (Seq::new(1), Seq::ZERO),
    };
    let rows = events.into_iter().filter_map(|stored| {
        let event = wire::Event::decode(stored.event).ok()?;
        Some(wire::Row { event: Some(event), rev: 0 })
    });
    wire::Page {
        channel: channel.get(),
        rows: rows.collect(),
        from: from.get(),
        to: to.get(),
        as_of: head.get(),
        floor: floor.get(),
    }
}
