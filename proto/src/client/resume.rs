//! Resume frames: what this client already has, in as few bytes as it takes.

use crate::id::{ChannelNo, Epoch, Seq};
use crate::limits::{
    RESUME_CURSORS_PER_FRAME_MAX, RESUME_FRAMES_MAX,
    RESUME_PENDING_PER_FRAME_MAX as PENDING_PER_FRAME,
};
use crate::wire;

/// Cursors of a frame. Even with the longest varints such a frame stays below 64 KiB.
const CURSORS_PER_FRAME: usize = 2_048;
/// Pending sends of a resume; others are repeated with their keys once it is over.
pub(super) const PENDING_MAX: usize = 4 * PENDING_PER_FRAME;
/// Frames of a resume. Channels for which there is no room come as new ones.
const FRAMES_MAX: usize = RESUME_FRAMES_MAX as usize;

const _: () = assert!(CURSORS_PER_FRAME <= RESUME_CURSORS_PER_FRAME_MAX);
const _: () = assert!(PENDING_MAX <= PENDING_PER_FRAME * FRAMES_MAX);

/// Where one channel stands: its last contiguous seq, and the epoch that this belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Cursor {
    /// The epoch of the Welcome under which it was taken.
    pub epoch: Epoch,
    /// The channel.
    pub channel: ChannelNo,
    /// The last contiguous seq; 0 = nothing.
    pub seq: Seq,
}

/// The frames that name `cursors` and `pending`. A frame holds cursors of one epoch.
pub(super) fn frames(
    mut cursors: Vec<Cursor>,
    pending: Vec<wire::PendingSend>,
    epoch: Epoch,
) -> Vec<wire::Resume> {
    cursors.sort_unstable();
    let of_one_epoch = cursors.chunk_by(|a, b| a.epoch == b.epoch);
    let mut frames: Vec<wire::Resume> =
        of_one_epoch.flat_map(|cursors| cursors.chunks(CURSORS_PER_FRAME)).map(frame).collect();
    // The newest epoch stands last, and matters most.
    frames.drain(..frames.len().saturating_sub(FRAMES_MAX));
    for (at, pending) in pending.chunks(PENDING_PER_FRAME).enumerate() {
        if at == frames.len() {
            frames.push(wire::Resume { epoch: epoch.get(), ..Default::default() });
        }
        frames[at].pending = pending.to_vec();
    }
    frames
}

fn frame(cursors: &[Cursor]) -> wire::Resume {
    let mut last = 0;
    let delta =
        |cursor: &Cursor| cursor.channel.get() - std::mem::replace(&mut last, cursor.channel.get());
    wire::Resume {
        channel_delta: cursors.iter().map(delta).collect(),
        seq: cursors.iter().map(|cursor| cursor.seq.get()).collect(),
        epoch: cursors.first().map_or(0, |cursor| cursor.epoch.get()),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    fn cursor(epoch: u64, channel: u64, seq: u64) -> Cursor {
        Cursor { epoch: Epoch::new(epoch), channel: ChannelNo::new(channel), seq: Seq::new(seq) }
    }

    fn read(frames: &[wire::Resume]) -> Vec<Cursor> {
        let mut all = Vec::new();
        for frame in frames {
            let mut channel = 0;
            for (delta, seq) in frame.channel_delta.iter().zip(&frame.seq) {
                channel += delta;
                all.push(cursor(frame.epoch, channel, *seq));
            }
        }
        all
    }

    #[test]
    fn every_cursor_arrives_under_its_epoch() {
        let cursors = [cursor(2, 8, 1), cursor(1, 6, 9), cursor(2, 4, 7), cursor(2, 9, 0)];
        let frames = frames(cursors.to_vec(), Vec::new(), Epoch::new(2));
        let mut sorted = cursors.to_vec();
        sorted.sort_unstable();
        assert_eq!(read(&frames), sorted);
    }

    #[test]
    fn three_thousand_channels_take_less_than_20_kb() {
        let cursors: Vec<Cursor> = (0..3_000).map(|n| cursor(1, n * 2_000, n * 7)).collect();
        let frames = frames(cursors, Vec::new(), Epoch::new(1));
        let bytes: usize = frames.iter().map(|frame| frame.encoded_len()).sum();
        assert!(bytes < 20_000, "{bytes} bytes");
    }

    #[test]
    fn no_frame_is_too_large_whatever_it_names() {
        let step = u64::MAX / 5_000;
        let cursors = (0..5_000).map(|n| cursor(1, n * step, u64::MAX)).collect();
        let key = bytes::Bytes::from(vec![7; 16]);
        let pending = vec![wire::PendingSend { channel: u64::MAX, key }; PENDING_MAX];
        let frames = frames(cursors, pending, Epoch::new(1));
        assert_eq!(frames.iter().map(|frame| frame.pending.len()).sum::<usize>(), PENDING_MAX);
        for frame in frames {
            assert!(frame.encoded_len() < 64 * 1024 - 64);
            assert!(frame.pending.len() <= PENDING_PER_FRAME);
        }
    }
}
