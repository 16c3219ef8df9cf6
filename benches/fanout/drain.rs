//! The client's side: it shakes hands, then drops what comes inside the kernel.
//!
//! It spins, since a client that sleeps makes every send pay for waking it. Ciphertext is dropped by
//! `MSG_TRUNC`, so that the client costs less than the server that it watches.

use std::io::{Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::net::RecvFlags;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
};

use super::{Outcome, measure};

/// First argument of the process that drains.
pub(super) const MODE: &str = "drain";
/// The server gives up on a client that says nothing for this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// TLS 1.3, AES-128-GCM and X25519 alone, so that every run measures the same.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![ring::kx_group::X25519];
    Arc::new(provider)
}

/// The server's side of TLS for both.
pub(super) fn server_config() -> Outcome<Arc<ServerConfig>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    // Every byte after the handshake is counted.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// What the client has taken, as the server hears it.
pub(super) struct Drained {
    control: TcpStream,
    expected: u64,
    taken: u64,
}

impl Drained {
    pub(super) fn accept(listener: &TcpListener) -> Outcome<Self> {
        let (control, _) = listener.accept()?;
        control.set_nonblocking(true)?;
        Ok(Self { control, expected: 0, taken: 0 })
    }

    /// Spins until everything that was sent so far has been taken.
    pub(super) fn wait(&mut self, sent: u64) -> Outcome<()> {
        self.expected += sent;
        let since = Instant::now();
        let mut word = [0; 8];
        while self.taken < self.expected {
            match self.control.read(&mut word) {
                Ok(8) => self.taken = u64::from_le_bytes(word),
                Ok(_) => return Err("the draining process ended".into()),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if since.elapsed() > PATIENCE {
                        let (taken, expected) = (self.taken, self.expected);
                        return Err(format!("{taken} of {expected} bytes were taken").into());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The whole life of the process that drains.
pub(super) fn run(ports: [u16; 3], connections: usize) -> Outcome<()> {
    let [control, product, bare] = ports;
    let connect = |port| TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    let mut control = connect(control)?;
    measure::pin(1);
    let config = client_config()?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut sockets = Vec::with_capacity(2 * connections);
    for port in [product, bare] {
        for _ in 0..connections {
            let socket = shake_hands(connect(port)?, &config)?;
            let data = epoll::EventData::new_u64(sockets.len() as u64);
            epoll::add(&epoll, &socket, data, epoll::EventFlags::IN)?;
            sockets.push(socket);
        }
    }
    let (mut taken, mut told) = (0_u64, 0);
    let mut sink = vec![MaybeUninit::<u8>::uninit(); 256 * 1024];
    let mut events = Vec::with_capacity(1_024);
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    loop {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), Some(&now))?;
        for event in &events {
            let data = event.data;
            let socket = &sockets[usize::try_from(data.u64())?];
            match rustix::net::recv(socket, &mut sink[..], RecvFlags::TRUNC | RecvFlags::DONTWAIT) {
                Ok((_, 0)) => return Ok(()),
                Ok((_, read)) => taken += read as u64,
                Err(rustix::io::Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if events.is_empty() && taken > told {
            told = taken;
            control.write_all(&told.to_le_bytes())?;
        }
    }
}

fn shake_hands(mut socket: TcpStream, config: &Arc<ClientConfig>) -> Outcome<TcpStream> {
    let name = ServerName::try_from("localhost")?;
    let mut tls = ClientConnection::new(config.clone(), name)?;
    while tls.is_handshaking() || tls.wants_write() {
        tls.complete_io(&mut socket)?;
    }
    Ok(socket)
}

fn client_config() -> Outcome<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider())))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Takes any certificate: the server was started by the same hand a moment ago.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
