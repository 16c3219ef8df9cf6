//! The frame that tells a reader which events it missed, and that live goes on behind them.

use damso_proto::id::{ChannelNo, Seq};
use damso_proto::wire::{ServerFrame, Standing, server_frame::Kind, standing::State};
use prost::Message as _;

/// Longest such frame: four varints and tags, bytes.
pub(super) const FRAME_BYTES_MAX: usize = 64;

/// Appends `Standing{BEHIND, from, to}` to `plain`.
pub(super) fn put(channel: ChannelNo, from: Seq, to: Seq, head: Seq, plain: &mut Vec<u8>) {
    let standing = Standing {
        channel: channel.get(),
        state: State::Behind.into(),
        from: from.get(),
        to: to.get(),
        head: head.get(),
        info: None,
    };
    let frame = ServerFrame { kind: Some(Kind::Standing(standing)), ..Default::default() };
    frame.encode_length_delimited(plain).expect("a Vec has room for every frame");
}
