//! The messages: 200 bytes of text each, many of them, so that none is always in a cache.

use bytes::Bytes;
use damso::model::event::EncodedEvent;
use damso_proto::wire;

/// Messages between two looks at the client.
pub(super) const BURST: usize = 50;
const TEXT_BYTES: usize = 200;
const KEPT: usize = 1_024;

/// An endless row of frames, and of channels to send them to.
pub(super) struct Frames {
    frames: Vec<Bytes>,
    next: usize,
    random: u64,
}

impl Frames {
    pub(super) fn new() -> Self {
        let frame = |seq| {
            let content = Some(wire::event::Content::Text("x".repeat(TEXT_BYTES)));
            let event = wire::Event {
                channel: 4_000,
                seq,
                id: seq,
                sender: 70_000,
                content,
                ..Default::default()
            };
            EncodedEvent::new(&event).frame().clone()
        };
        let first = 1 << 20;
        Self { frames: (first..first + KEPT as u64).map(frame).collect(), next: 0, random: 1 }
    }

    pub(super) fn next(&mut self) -> Bytes {
        self.next = (self.next + 1) % KEPT;
        self.frames[self.next].clone()
    }

    /// A number below `below`, the same ones in every run.
    pub(super) fn random(&mut self, below: usize) -> usize {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.random >> 33).unwrap_or(0) % below
    }
}
