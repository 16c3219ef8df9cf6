//! Whole packets out of a stream that was cut anywhere.

use super::codec::{Fault, Packet, decode};

/// Keeps the beginning of a packet until its end comes; at rest it keeps nothing.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Shorter than the longest packet.
    kept: Vec<u8>,
}

impl Reader {
    /// Takes in all of `input` and gives each whole packet to `take`.
    ///
    /// # Errors
    /// [`Fault`], or what `take` says: the stream is of no more use.
    pub(super) fn read<E: From<Fault>>(
        &mut self,
        input: &[u8],
        take: impl FnMut(Packet<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.kept.is_empty() {
            let used = each(input, take)?;
            self.kept.extend_from_slice(&input[used..]);
            return Ok(());
        }
        self.kept.extend_from_slice(input);
        let mut kept = std::mem::take(&mut self.kept);
        let used = each(&kept, take)?;
        if used < kept.len() {
            kept.drain(..used);
            self.kept = kept;
        }
        Ok(())
    }
}

/// Gives out the whole packets at the front of `input`, and says how long they are.
fn each<E: From<Fault>>(
    input: &[u8],
    mut take: impl FnMut(Packet<'_>) -> Result<(), E>,
) -> Result<usize, E> {
    let mut used = 0;
    while let Some((packet, bytes)) = decode(&input[used..])? {
        used += bytes;
        take(packet)?;
    }
    Ok(used)
}
