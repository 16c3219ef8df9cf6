//! What a pipe asks of a socket: readiness, one try, and leave to move to another shard.

use std::io;
use std::task::{Context, Poll};

/// Which readiness is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interest {
    /// Bytes, or the end.
    Read,
    /// Room for bytes.
    Write,
}

/// A connected stream socket that never blocks.
pub trait Socket {
    /// Whether a read would not block.
    ///
    /// # Errors
    /// The socket cannot be watched any more.
    fn poll_ready(&self, interest: Interest, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads what is there. 0: the other end is done.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there.
    fn try_read(&self, into: &mut [u8]) -> io::Result<usize>;

    /// Writes what there is room for.
    ///
    /// # Errors
    /// `WouldBlock` where there is none.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Ends what is written from here: it is still sent, and reading goes on. Whoever drops a
    /// socket with unread bytes resets it, and a reset may overtake what was written last.
    fn shutdown(&self);

    /// Leaves this shard's watch.
    ///
    /// # Errors
    /// The operating system refused; the connection is gone.
    fn detach(self: Box<Self>) -> io::Result<Box<dyn Detached>>;
}

/// A socket between two shards.
pub trait Detached: Send {
    /// Joins this shard's watch. Bytes that wait already are reported.
    ///
    /// # Errors
    /// The operating system refused; the connection is gone.
    fn attach(self: Box<Self>) -> io::Result<Box<dyn Socket>>;
}

/// A TCP socket watched by tokio. `T` lives and dies with the connection.
#[derive(Debug)]
pub struct TokioSocket<T> {
    stream: tokio::net::TcpStream,
    tied: T,
}

impl<T> TokioSocket<T> {
    /// Takes an accepted stream.
    ///
    /// # Errors
    /// The socket's options cannot be set.
    pub fn new(stream: tokio::net::TcpStream, tied: T) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        // What the kernel holds beyond what is on its way is memory for readers that stopped.
        let low = NOTSENT_LOW_WATER_BYTES;
        socket2::SockRef::from(&stream).set_tcp_notsent_lowat(low)?;
        Ok(Self { stream, tied })
    }
}

/// Unsent bytes in the kernel above which a socket is not writable.
const NOTSENT_LOW_WATER_BYTES: u32 = 16 * 1024;

impl<T: Send + 'static> Socket for TokioSocket<T> {
    fn poll_ready(&self, interest: Interest, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match interest {
            Interest::Read => self.stream.poll_read_ready(cx),
            Interest::Write => self.stream.poll_write_ready(cx),
        }
    }

    fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.try_read(into)
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.try_write(bytes)
    }

    fn shutdown(&self) {
        // A peer that is gone already is what shutdown is for.
        drop(socket2::SockRef::from(&self.stream).shutdown(std::net::Shutdown::Write));
    }

    fn detach(self: Box<Self>) -> io::Result<Box<dyn Detached>> {
        let Self { stream, tied } = *self;
        Ok(Box::new(DetachedTokio { stream: stream.into_std()?, tied }))
    }
}

struct DetachedTokio<T> {
    stream: std::net::TcpStream,
    tied: T,
}

impl<T: Send + 'static> Detached for DetachedTokio<T> {
    fn attach(self: Box<Self>) -> io::Result<Box<dyn Socket>> {
        let Self { stream, tied } = *self;
        let stream = tokio::net::TcpStream::from_std(stream)?;
        Ok(Box::new(TokioSocket { stream, tied }))
    }
}
