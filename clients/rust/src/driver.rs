//! The background task: makes connections when the machine says so, and moves its bytes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use damso_proto::address::ConnectionString;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::platform::Stream;
use crate::shared::Shared;
use crate::trust::ALPN;

/// How long a connection may take to stand, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// How long a goodbye may take.
const GOODBYE_LIMIT: Duration = Duration::from_secs(4);
const READ_BYTES: usize = 16 * 1024;
/// Longest sleep of a task that waits for nothing: a lost wake-up would cost no more.
const IDLE: Duration = Duration::from_secs(3_600);

pub(crate) struct Driver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) address: ConnectionString,
    pub(crate) tls: Arc<ClientConfig>,
}

impl Driver {
    /// Runs until the client is signed out or closed.
    pub(crate) async fn run(self) {
        while !self.shared.state.borrow().is_over() {
            let Some(target) = self.shared.with(|inner, now| inner.replica.next_dial(now)) else {
                self.rest().await;
                continue;
            };
            let stream = tokio::select! {
                stream = timeout(CONNECT_LIMIT, self.connect(target)) => stream,
                () = self.over() => break,
            };
            match stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => {
                    tracing::debug!(server = %self.address, "connected");
                    self.shared.with(|inner, now| inner.replica.connected(now));
                    let end = self.serve(stream).await;
                    tracing::debug!(server = %self.address, %end, "disconnected");
                    self.lost(end);
                }
                Err(error) => {
                    tracing::debug!(server = %self.address, %error, "cannot connect");
                    let (authority, error) = (self.address.authority(), reason(&error));
                    self.lost(format!("cannot connect to {authority}: {error}"));
                }
            }
        }
        self.shared.news.notify_waiters();
    }

    /// Tells the machine, unless it was the one to end the connection.
    fn lost(&self, why: String) {
        self.shared.with(|inner, now| {
            let waits = matches!(inner.replica.state(), damso_proto::client::State::Backoff { .. });
            if !waits {
                inner.replica.lost(why, now);
            }
        });
    }

    async fn rest(&self) {
        let due = self.due();
        tokio::select! {
            biased;
            () = sleep_until(due) => {}
            () = self.shared.wake.notified() => {}
        }
        self.shared.with(|inner, now| inner.replica.handle_timeout(now));
    }

    fn due(&self) -> Instant {
        let due = self.shared.look(|replica| replica.poll_timeout());
        let due = due.map(|at| self.shared.instant(at));
        due.unwrap_or_else(|| self.shared.platform.now() + IDLE).into()
    }

    async fn over(&self) {
        let mut state = self.shared.state.subscribe();
        // An error would mean that the sender is gone, which `self` holds.
        let _ = state.wait_for(crate::state::State::is_over).await;
    }

    async fn connect(&self, target: Option<String>) -> io::Result<TlsStream<Box<dyn Stream>>> {
        let address = match target {
            // An address that is none is as good as no address.
            Some(other) => self.address.at(&other).unwrap_or_else(|_| self.address.clone()),
            None => self.address.clone(),
        };
        let name = ServerName::try_from(address.host.clone()).map_err(io::Error::other)?;
        let stream = self.shared.platform.connect(&address).await?;
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await?;
        if stream.get_ref().1.alpn_protocol() == Some(ALPN) {
            Ok(stream)
        } else {
            Err(io::Error::other("something answers there, but it does not speak damso/1"))
        }
    }

    /// Moves bytes until the connection is of no more use; says why.
    async fn serve(&self, stream: TlsStream<Box<dyn Stream>>) -> String {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let mut incoming = vec![0; READ_BYTES];
        let mut outgoing = Vec::new();
        let mut written = 0;
        loop {
            if written == outgoing.len() {
                outgoing.clear();
                written = 0;
                self.shared.with(|inner, _| std::mem::swap(inner.replica.output(), &mut outgoing));
            }
            if !self.shared.look(|replica| replica.is_up()) {
                // What was said last, a keep-alive at most, is not worth waiting for.
                let _ = timeout(GOODBYE_LIMIT, writer.shutdown()).await;
                return "closed".into();
            }
            let due = self.due();
            // Writing comes first: a server that talks without end does not silence this side,
            // and what this side may say without an answer is bounded.
            tokio::select! {
                biased;
                wrote = write(&mut writer, &outgoing[written..]) => match wrote {
                    Ok(length) => written += length,
                    Err(error) => return error.to_string(),
                },
                read = read(&mut reader, &mut incoming) => match read {
                    Ok(0) => return "the server closed the connection".into(),
                    Ok(length) => self.shared.with(|inner, now| {
                        inner.replica.received(&incoming[..length], now);
                    }),
                    Err(error) => return error.to_string(),
                },
                () = sleep_until(due) => {
                    self.shared.with(|inner, now| inner.replica.handle_timeout(now));
                }
                () = self.shared.wake.notified() => {}
            }
        }
    }
}

type Reader = ReadHalf<TlsStream<Box<dyn Stream>>>;
type Writer = WriteHalf<TlsStream<Box<dyn Stream>>>;

async fn read(reader: &mut Reader, into: &mut [u8]) -> io::Result<usize> {
    match reader.read(into).await {
        // A server that was killed says no goodbye.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
        other => other,
    }
}

/// What went wrong, without the names of the layers that it came through.
fn reason(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::Other(other)) => other.0.to_string(),
        Some(tls) => tls.to_string(),
        None => error.to_string(),
    }
}

/// Writes some of `bytes`; waits for ever if there are none.
async fn write(writer: &mut Writer, bytes: &[u8]) -> io::Result<usize> {
    if bytes.is_empty() {
        // Whatever the TLS layer still holds leaves before the rest.
        writer.flush().await?;
        return std::future::pending().await;
    }
    writer.write(bytes).await
}
