//! Long answers and replays: made only when the socket has drained, one chunk in flight.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use damso_proto::frame::encode_server;
use damso_proto::id::{ChannelNo, RequestId, Seq};
use damso_proto::wire;
use damso_proto::wire::server_frame::Kind;
use prost::Message as _;

use super::shard::Shard;
use crate::model::limits;
use crate::runtime::route::ConnectionId;

/// The connection ended before everything was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gone;

/// Frames on their way through the bulk lane, gathered to chunks.
pub(super) struct Chunks {
    shard: Rc<Shard>,
    to: ConnectionId,
    bytes: BytesMut,
    then: Vec<(ChannelNo, Seq)>,
}

impl Chunks {
    pub(super) fn new(shard: Rc<Shard>, to: ConnectionId) -> Self {
        Self { shard, to, bytes: BytesMut::new(), then: Vec::new() }
    }

    /// Adds a frame, writing out what is full.
    pub(super) async fn push(&mut self, frame: &[u8]) -> Result<(), Gone> {
        if !self.bytes.is_empty() && self.bytes.len() + frame.len() > limits::BULK_CHUNK_BYTES {
            self.flush().await?;
        }
        self.bytes.extend_from_slice(frame);
        Ok(())
    }

    /// The channel goes live from `seq` on, once everything pushed so far is written.
    pub(super) fn then_live(&mut self, channel: ChannelNo, seq: Seq) {
        self.then.push((channel, seq));
    }

    /// Writes out what is gathered.
    pub(super) async fn flush(&mut self) -> Result<(), Gone> {
        if self.bytes.is_empty() && self.then.is_empty() {
            return Ok(());
        }
        let (bytes, then) = (self.bytes.split().freeze(), std::mem::take(&mut self.then));
        self.shard.bulk(self.to, bytes, then).await
    }
}

/// Sends the answer to `request` through the bulk lane, a long page in several frames.
pub(super) async fn answer(
    shard: &Rc<Shard>,
    to: ConnectionId,
    request: RequestId,
    kind: Kind,
) -> Result<(), Gone> {
    let mut chunks = Chunks::new(shard.clone(), to);
    let frames = match kind {
        Kind::Page(page) => split_page(page).into_iter().map(Kind::Page).collect(),
        kind => vec![kind],
    };
    let last = frames.len().saturating_sub(1);
    for (index, kind) in frames.into_iter().enumerate() {
        let (id, more) = (request.get(), index < last);
        let frame = encode_server(&wire::ServerFrame { kind: Some(kind), id, more });
        chunks.push(&frame).await?;
    }
    chunks.flush().await
}

/// Whether an answer may be long, and so belongs into the bulk lane.
pub(super) const fn is_long(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Page(_)
            | Kind::ChannelList(_)
            | Kind::MemberList(_)
            | Kind::People(_)
            | Kind::Outcomes(_)
    )
}

/// Cuts a page into pages that each fit into a chunk; together they cover the same seqs.
fn split_page(page: wire::Page) -> Vec<wire::Page> {
    let wire::Page { channel, rows, from, to, as_of, floor } = page;
    let empty = |from, to| wire::Page { channel, rows: Vec::new(), from, to, as_of, floor };
    let mut pages = Vec::new();
    let (mut current, mut bytes) = (empty(from, to), 0);
    for row in rows {
        let row_bytes = row.encoded_len();
        let seq = row.event.as_ref().map_or(0, |event| event.seq);
        if bytes + row_bytes > limits::BULK_CHUNK_BYTES && !current.rows.is_empty() {
            current.to = seq.saturating_sub(1);
            pages.push(std::mem::replace(&mut current, empty(seq, to)));
            bytes = 0;
        }
        bytes += row_bytes;
        current.rows.push(row);
    }
    pages.push(current);
    pages
}

impl Shard {
    /// Waits until everything that the bulk lane was handed is with the socket.
    pub(super) async fn bulk_free(&self, to: ConnectionId) -> Result<(), Gone> {
        poll_fn(|context| {
            let Some(()) = self.with_session(to, |_| ()) else { return Poll::Ready(Err(Gone)) };
            if self.floors().delivery.borrow().connections.bulk_free(to) {
                return Poll::Ready(Ok(()));
            }
            self.with_session(to, |session| session.bulk.push(context.waker().clone()));
            Poll::Pending
        })
        .await
    }

    /// Waits until the bulk lane is free, then hands it `bytes`.
    pub(super) async fn bulk(
        &self,
        to: ConnectionId,
        bytes: Bytes,
        then: Vec<(ChannelNo, Seq)>,
    ) -> Result<(), Gone> {
        self.bulk_free(to).await?;
        self.floors().delivery.borrow_mut().connections.bulk(to, bytes, then);
        self.kick();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_page_covers_the_same_seqs_without_hole_or_overlap() {
        let row = |seq| wire::Row {
            event: Some(wire::Event {
                seq,
                content: Some(wire::event::Content::Text("x".repeat(10_000))),
                ..Default::default()
            }),
            rev: 0,
        };
        let rows: Vec<_> = (5..25).map(row).collect();
        let page = wire::Page { channel: 2, rows, from: 5, to: 24, as_of: 30, floor: 1 };
        let pages = split_page(page);
        assert!(pages.len() > 3);
        let mut next = 5;
        for page in &pages {
            assert_eq!(page.from, next);
            assert_eq!(page.rows.len() as u64, page.to - page.from + 1);
            assert!(page.encoded_len() <= limits::BULK_CHUNK_BYTES + 64);
            next = page.to + 1;
        }
        assert_eq!(next, 25);
    }

    #[test]
    fn an_empty_page_stays_one_empty_page() {
        let page = wire::Page { channel: 2, from: 1, to: 0, ..Default::default() };
        assert_eq!(split_page(page.clone()), vec![page]);
    }
}
