//! Two sockets joined in memory, for simulation: no thread, no clock, no chance.
//!
//! ```text
//!            +-- Left -> Right: bytes, at most `capacity` ---+
//! Left  -----+                                              +----- Right
//!            +-- Right -> Left ------------------------------+
//! ```
//!
//! A [`Cable`] harms the line: it cuts it at once or at a given byte, or holds the bytes of one
//! side back (a stalled reader; both sides held is a half-open connection).

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::socket::{Detached, Interest, Socket};

/// One of the two ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The first socket of the pair.
    Left,
    /// The second one.
    Right,
}

impl End {
    const fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// One end of a line in memory.
#[derive(Debug)]
pub struct MemorySocket {
    end: End,
    line: Arc<Mutex<Line>>,
}

/// What a test does to a line.
#[derive(Clone, Debug)]
pub struct Cable(Arc<Mutex<Line>>);

/// Locked by either end and the cable, for one call each; never held across a wake-up.
#[derive(Debug)]
struct Line {
    capacity: usize,
    cut: bool,
    from_left: Flow,
    from_right: Flow,
}

/// The bytes of one direction.
#[derive(Default, Debug)]
struct Flow {
    bytes: VecDeque<u8>,
    ended: bool,
    unread: bool,
    held: bool,
    cut_after: Option<usize>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl MemorySocket {
    /// Two joined ends; each direction holds up to `capacity` bytes.
    pub fn pair(capacity: usize) -> (Self, Self, Cable) {
        let line = Arc::new(Mutex::new(Line {
            capacity,
            cut: false,
            from_left: Flow::default(),
            from_right: Flow::default(),
        }));
        let end = |end| Self { end, line: Arc::clone(&line) };
        (end(End::Left), end(End::Right), Cable(Arc::clone(&line)))
    }
}

impl Cable {
    /// Breaks the line now: bytes under way are gone, both ends fail.
    pub fn cut(&self) {
        let woken = {
            let mut line = locked(&self.0);
            line.from_left.bytes.clear();
            line.from_right.bytes.clear();
            line.break_line()
        };
        wake(woken);
    }

    /// Breaks the line once `bytes` more have been written at `end`; these still arrive.
    pub fn cut_after(&self, end: End, bytes: usize) {
        let woken = {
            let mut line = locked(&self.0);
            line.flow(end).cut_after = Some(bytes);
            if bytes == 0 { line.break_line() } else { Default::default() }
        };
        wake(woken);
    }

    /// Keeps what `end` writes from arriving, until called with `false`.
    pub fn hold(&self, end: End, held: bool) {
        let woken = {
            let mut line = locked(&self.0);
            line.flow(end).held = held;
            line.flow(end).reader.take()
        };
        wake([woken]);
    }

    /// Bytes written at `end` that the other end has not read.
    pub fn under_way(&self, end: End) -> usize {
        locked(&self.0).flow(end).bytes.len()
    }
}

impl Line {
    const fn flow(&mut self, from: End) -> &mut Flow {
        match from {
            End::Left => &mut self.from_left,
            End::Right => &mut self.from_right,
        }
    }

    fn break_line(&mut self) -> [Option<Waker>; 4] {
        self.cut = true;
        let Self { from_left, from_right, .. } = self;
        [
            from_left.reader.take(),
            from_left.writer.take(),
            from_right.reader.take(),
            from_right.writer.take(),
        ]
    }

    fn is_readable(&mut self, at: End) -> bool {
        let cut = self.cut;
        let flow = self.flow(at.other());
        cut || !flow.held && (flow.ended || !flow.bytes.is_empty())
    }

    fn is_writable(&mut self, at: End) -> bool {
        let capacity = self.capacity;
        self.cut || self.flow(at).unread || self.flow(at).bytes.len() < capacity
    }
}

impl Socket for MemorySocket {
    fn poll_ready(&self, interest: Interest, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut line = locked(&self.line);
        let waiting = match interest {
            Interest::Read if line.is_readable(self.end) => return Poll::Ready(Ok(())),
            Interest::Write if line.is_writable(self.end) => return Poll::Ready(Ok(())),
            Interest::Read => &mut line.flow(self.end.other()).reader,
            Interest::Write => &mut line.flow(self.end).writer,
        };
        *waiting = Some(cx.waker().clone());
        Poll::Pending
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let (read, woken) = {
            let mut line = locked(&self.line);
            if !line.is_readable(self.end) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let cut = line.cut;
            let flow = line.flow(self.end.other());
            if cut && flow.bytes.is_empty() {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            let read = into.len().min(flow.bytes.len());
            for (slot, byte) in into.iter_mut().zip(flow.bytes.drain(..read)) {
                *slot = byte;
            }
            (read, flow.writer.take())
        };
        wake([woken]);
        Ok(read)
    }

    fn try_write(&self, from: &[u8]) -> io::Result<usize> {
        let (written, woken) = {
            let mut line = locked(&self.line);
            if line.cut || line.flow(self.end).ended || line.flow(self.end).unread {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            let room = line.capacity.saturating_sub(line.flow(self.end).bytes.len());
            let flow = line.flow(self.end);
            let written = from.len().min(room).min(flow.cut_after.unwrap_or(usize::MAX));
            if written == 0 && !from.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            flow.bytes.extend(&from[..written]);
            flow.cut_after = flow.cut_after.map(|left| left - written);
            if flow.cut_after == Some(0) {
                (written, line.break_line())
            } else {
                (written, [flow.reader.take(), None, None, None])
            }
        };
        wake(woken);
        Ok(written)
    }

    fn shutdown(&self) {
        let woken = {
            let mut line = locked(&self.line);
            let flow = line.flow(self.end);
            flow.ended = true;
            flow.reader.take()
        };
        wake([woken]);
    }

    fn detach(self: Box<Self>) -> io::Result<Box<dyn Detached>> {
        Ok(self)
    }
}

impl Detached for MemorySocket {
    fn attach(self: Box<Self>) -> io::Result<Box<dyn Socket>> {
        Ok(self)
    }
}

/// A dropped end reads as an end of stream at the other one, and refuses its writes. If it has not
/// read everything, that is a reset: what the other end has not read yet is gone as well.
impl Drop for MemorySocket {
    fn drop(&mut self) {
        self.shutdown();
        let woken = {
            let mut line = locked(&self.line);
            let unread = line.flow(self.end.other());
            let is_reset = !unread.bytes.is_empty();
            unread.unread = true;
            unread.bytes.clear();
            if is_reset {
                line.flow(self.end).bytes.clear();
                line.break_line()
            } else {
                [line.flow(self.end.other()).writer.take(), None, None, None]
            }
        };
        wake(woken);
    }
}

impl AsyncRead for MemorySocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.poll_ready(Interest::Read, cx))?;
        let read = self.try_read(into.initialize_unfilled())?;
        into.advance(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for MemorySocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.poll_ready(Interest::Write, cx))?;
        Poll::Ready(self.try_write(from))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown();
        Poll::Ready(Ok(()))
    }
}

fn locked(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn wake(wakers: impl IntoIterator<Item = Option<Waker>>) {
    wakers.into_iter().flatten().for_each(Waker::wake);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_in_order_and_a_full_line_refuses_more() {
        let (left, right, cable) = MemorySocket::pair(4);
        assert_eq!(left.try_write(b"abcdef").ok(), Some(4));
        assert_eq!(left.try_write(b"ef").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(cable.under_way(End::Left), 4);
        let mut read = [0; 3];
        assert_eq!(right.try_read(&mut read).ok(), Some(3));
        assert_eq!(&read, b"abc");
        assert_eq!(left.try_write(b"ef").ok(), Some(2));
    }

    #[test]
    fn a_cut_after_n_bytes_lets_exactly_n_bytes_in() {
        for n in 1..6 {
            let (left, right, cable) = MemorySocket::pair(64);
            cable.cut_after(End::Left, n);
            assert_eq!(left.try_write(b"abcdef").ok(), Some(n));
            assert_eq!(left.try_write(b"g").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            let mut read = [0; 8];
            assert_eq!(right.try_read(&mut read).ok(), Some(n));
            assert_eq!(&read[..n], &b"abcdef"[..n]);
            let end = right.try_read(&mut read).unwrap_err().kind();
            assert_eq!(end, io::ErrorKind::ConnectionReset, "after {n}");
        }
    }

    #[test]
    fn an_end_that_is_dropped_with_unread_bytes_takes_its_last_words_along() {
        for unread in [false, true] {
            let (left, right, _cable) = MemorySocket::pair(64);
            assert_eq!(left.try_write(b"last").ok(), Some(4));
            left.shutdown();
            assert_eq!(right.try_write(b"go on").ok(), Some(5), "only one direction has ended");
            let mut read = [0; 8];
            if !unread {
                assert_eq!(left.try_read(&mut read).ok(), Some(5));
            }
            drop(left);
            match right.try_read(&mut read) {
                Ok(read) => assert_eq!((unread, read), (false, 4)),
                Err(error) => {
                    assert_eq!((unread, error.kind()), (true, io::ErrorKind::ConnectionReset));
                }
            }
        }
    }

    #[test]
    fn held_bytes_arrive_when_they_are_let_go_and_the_end_comes_behind_them() {
        let (left, right, cable) = MemorySocket::pair(64);
        cable.hold(End::Left, true);
        assert_eq!(left.try_write(b"ab").ok(), Some(2));
        left.shutdown();
        let mut read = [0; 8];
        assert_eq!(right.try_read(&mut read).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        cable.hold(End::Left, false);
        assert_eq!(right.try_read(&mut read).ok(), Some(2));
        assert_eq!(right.try_read(&mut read).ok(), Some(0));
    }
}
