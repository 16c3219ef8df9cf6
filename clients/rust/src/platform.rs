//! What a client stands on, injected: clocks, randomness, and the way to the server.
//!
//! An app stands on the operating system. A simulation brings its own, so that one thread runs
//! many clients and their server, and one seed repeats all of it.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use damso_proto::address::ConnectionString;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long one address may take to answer.
const ADDRESS_LIMIT: Duration = Duration::from_secs(4);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// A connected stream of bytes, TLS not yet spoken.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that is being made. Dropping it gives up.
pub type Connecting<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// See the module's text.
pub trait Platform: fmt::Debug + Send + Sync + 'static {
    /// A clock that never goes back.
    fn now(&self) -> Instant;

    /// The time of day, milliseconds since 1970.
    fn unix_ms(&self) -> u64;

    /// 64 random bits, fit for keys that nobody may guess.
    fn random(&self) -> u64;

    /// Connects to host and port of `address`.
    fn connect<'a>(&'a self, address: &'a ConnectionString) -> Connecting<'a>;
}

/// The operating system.
#[derive(Debug)]
pub(crate) struct Native(SystemRandom);

impl Native {
    pub(crate) fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Platform for Native {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn unix_ms(&self) -> u64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }

    fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        // The system's source fails only where there is none, and then at the very first call.
        self.0.fill(&mut bytes).expect("the system has a source of random numbers");
        u64::from_le_bytes(bytes)
    }

    fn connect<'a>(&'a self, address: &'a ConnectionString) -> Connecting<'a> {
        Box::pin(async move {
            let stream = connect_any(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }
}

/// The first address of the name that answers.
async fn connect_any(address: &ConnectionString) -> io::Result<TcpStream> {
    let addresses = tokio::net::lookup_host((address.host.as_str(), address.port)).await?;
    let mut last = io::Error::other("the name has no address");
    for address in addresses.take(ADDRESSES_MAX) {
        match timeout(ADDRESS_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}
