//! What holds for every pipe is checked for both kinds.

use std::net::TcpListener;
use std::os::fd::OwnedFd;

use rustix::net::sockopt;
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;

use super::*;
use crate::bare::Certificate;
use crate::engine::socket::{connect, connect_narrow};
use crate::engine::target::Target;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Plain,
    Tls,
}

const KINDS: [Kind; 2] = [Kind::Plain, Kind::Tls];

/// Both ends of one connection.
struct Pair {
    scratch: Scratch,
    client: Pipe<UnbufferedClientConnection>,
    server: Pipe<UnbufferedServerConnection>,
}

impl Pair {
    /// Through sockets that hold little, so that much is sent in parts.
    fn narrow(kind: Kind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = connect_narrow(listener.local_addr().unwrap(), None, 8 * 1024).unwrap();
        Self::over(kind, &listener, socket)
    }

    fn over(kind: Kind, listener: &TcpListener, near: OwnedFd) -> Self {
        let far = listener.accept().unwrap().0;
        far.set_nonblocking(true).unwrap();
        for socket in [near.as_fd(), far.as_fd()] {
            sockopt::set_socket_send_buffer_size(socket, 8 * 1024).unwrap();
        }
        let address = listener.local_addr().unwrap();
        let (target, server) = match kind {
            Kind::Plain => (Target::plain(address), Pipe::plain(far.into())),
            Kind::Tls => {
                let certificate = Certificate::make().unwrap();
                let url = format!("damso://{address}?pin={}", certificate.pin);
                let tls = UnbufferedServerConnection::new(certificate.config().unwrap()).unwrap();
                (Target::parse(&url).unwrap(), Pipe::new(far.into(), tls))
            }
        };
        let client = target.pipe(near).unwrap();
        let mut pair = Self { scratch: Scratch::default(), client, server };
        pair.client.start(&mut Vec::new()).unwrap();
        while !(pair.client.handshaken() && pair.server.handshaken()) {
            pair.serve(&mut Vec::new());
            pair.client.flush().unwrap();
            pair.client.receive(&mut pair.scratch, &mut Vec::new()).unwrap();
        }
        pair
    }

    fn serve(&mut self, heard: &mut Vec<u8>) {
        self.server.flush().unwrap();
        self.server.receive(&mut self.scratch, heard).unwrap();
    }
}

fn noise(bytes: usize) -> Vec<u8> {
    (0..bytes as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

#[test]
fn bytes_arrive_in_order_both_ways_though_the_socket_takes_them_in_parts() {
    for kind in KINDS {
        let mut pair = Pair::narrow(kind);
        for bytes in [1, 300, 20_000, 1_000_000] {
            let said = noise(bytes);
            let (mut near, mut far) = (Vec::new(), Vec::new());
            pair.client.send(&mut pair.scratch, &said).unwrap();
            pair.server.send(&mut pair.scratch, &said).unwrap();
            if bytes == 1_000_000 {
                assert!(pair.client.unsent_bytes() > 0 && pair.server.unsent_bytes() > 0);
            }
            while near.len() < bytes || far.len() < bytes {
                pair.client.flush().unwrap();
                pair.client.receive(&mut pair.scratch, &mut near).unwrap();
                pair.serve(&mut far);
            }
            assert!(near == said && far == said, "{kind:?} {bytes}");
        }
        assert_eq!(pair.client.unsent_bytes() + pair.server.unsent_bytes(), 0);
        assert_eq!(pair.client.bytes_in, pair.server.bytes_out, "{kind:?}");
        assert_eq!(pair.client.bytes_out, pair.server.bytes_in, "{kind:?}");
        assert_eq!(kind == Kind::Plain, pair.client.bytes_in == 1_020_301, "{kind:?}");
    }
}

#[test]
fn reading_a_little_at_a_time_reads_everything_in_the_end() {
    for kind in KINDS {
        let mut pair = Pair::narrow(kind);
        let said = noise(200_000);
        let mut heard = Vec::new();
        pair.server.send(&mut pair.scratch, &said).unwrap();
        let before = pair.client.bytes_in;
        let nothing = pair.client.receive_at_most(&mut pair.scratch, &mut heard, 0).unwrap();
        assert_eq!((nothing, heard.len()), (Received::More, 0));
        let mut reads = 0;
        while heard.len() < said.len() {
            let read_before = pair.client.bytes_in;
            pair.client.receive_at_most(&mut pair.scratch, &mut heard, 1_000).unwrap();
            assert!(pair.client.bytes_in - read_before <= 1_000, "{kind:?}");
            reads += 1;
            pair.server.flush().unwrap();
        }
        assert!(heard == said, "{kind:?}");
        assert!(reads >= (pair.client.bytes_in - before) / 1_000, "{kind:?} {reads}");
        let empty = pair.client.receive_at_most(&mut pair.scratch, &mut heard, 1_000).unwrap();
        assert_eq!(empty, Received::Blocked, "{kind:?}");
    }
}

#[test]
fn the_end_behind_the_last_words_is_heard() {
    for kind in KINDS {
        for slow in [false, true] {
            let Pair { mut scratch, mut client, mut server } = Pair::narrow(kind);
            server.send(&mut scratch, b"goodbye").unwrap();
            drop(server);
            let mut heard = Vec::new();
            // A short read ends a turn; Poll names a socket at its end twice for that.
            let mut read = || match slow {
                true => client.receive_at_most(&mut scratch, &mut heard, 1_000),
                false => client.receive(&mut scratch, &mut heard),
            };
            while read().unwrap() != Received::End {}
            assert_eq!(heard, b"goodbye", "{kind:?} {slow}");
        }
    }
}

#[test]
fn a_pipe_that_nobody_reads_is_given_up_and_keeps_no_more() {
    for kind in KINDS {
        let mut pair = Pair::narrow(kind);
        let said = noise(1_000_000);
        let mut refused = 0;
        for _ in 0..20 {
            refused += u32::from(pair.client.send(&mut pair.scratch, &said).is_err());
        }
        assert!(refused > 0, "{kind:?}");
        assert!(pair.client.unsent_bytes() < UNSENT_BYTES_MAX + 2 * said.len(), "{kind:?}");
    }
}

#[test]
fn a_plain_pipe_is_ready_once_its_socket_is_connected() {
    use rustix::net::{AddressFamily, SocketType, socket};
    let unconnected = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let pipe = Pipe::<UnbufferedClientConnection>::plain(unconnected);
    assert!(!pipe.handshaken());

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connecting = connect(listener.local_addr().unwrap(), None).unwrap();
    let mut pipe = Pipe::<UnbufferedClientConnection>::plain(connecting);
    let _far = listener.accept().unwrap();
    let received = pipe.receive(&mut Scratch::default(), &mut Vec::new()).unwrap();
    assert!(pipe.handshaken() && received == Received::Blocked);
}

#[test]
fn a_pipe_at_rest_is_small() {
    assert!(size_of::<Pipe<UnbufferedClientConnection>>() <= 64);
}
