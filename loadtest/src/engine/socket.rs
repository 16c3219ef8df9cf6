//! Sockets that connect without waiting.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, sockopt};
use socket2::SockRef;

/// Segments of a network between hosts. Those of loopback have 64 KiB, as much as a receive buffer:
/// a reader that was slow leaves its sender with a window of less than one segment, which it may
/// not use, and the kernel looks again after 14 s, then 28 s. No network does that to a phone.
const SEGMENT_BYTES: u32 = 1_460;

/// Opens a socket that connects to `to` without waiting; when it is writable, it is there.
///
/// A source address has some 28,000 ports towards one target, so a run with more connections
/// needs several, which `from` names: all of 127.0.0.0/8 are this host's own.
///
/// # Errors
/// No descriptor or port is left, `from` is not ours, or the target refuses at once.
pub fn connect(to: SocketAddr, from: Option<IpAddr>) -> io::Result<OwnedFd> {
    dial(to, from, None)
}

/// As [`connect`], with a receive buffer of about `receive_bytes` in the kernel: a reader that
/// stops is felt by the sender at once, instead of after megabytes.
///
/// # Errors
/// As [`connect`].
pub fn connect_narrow(
    to: SocketAddr,
    from: Option<IpAddr>,
    receive_bytes: usize,
) -> io::Result<OwnedFd> {
    dial(to, from, Some(receive_bytes))
}

fn dial(to: SocketAddr, from: Option<IpAddr>, receive_bytes: Option<usize>) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    // Told to the other end, whose segments are no longer then, either.
    SockRef::from(&socket).set_tcp_mss(SEGMENT_BYTES)?;
    if let Some(bytes) = receive_bytes {
        // Before connecting, since the window's scale is agreed on then. The kernel doubles it.
        sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
    }
    if let Some(from) = from {
        // Neither rustix nor socket2 offers IP_BIND_ADDRESS_NO_PORT, so the port is taken here,
        // where the kernel does not know the target yet. It costs that no two sockets of one
        // source address share a port, even towards different targets.
        net::bind(&socket, &SocketAddr::new(from, 0))?;
    }
    match net::connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_connection_comes_from_the_address_that_was_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        for from in ["127.0.0.1", "127.1.2.3"] {
            let from: IpAddr = from.parse().unwrap();
            let _socket = connect(to, Some(from)).unwrap();
            assert_eq!(listener.accept().unwrap().1.ip(), from);
        }
        let foreign = connect(to, Some("192.0.2.1".parse().unwrap()));
        assert_eq!(foreign.unwrap_err().kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn a_narrow_socket_takes_little_from_a_sender_that_nobody_reads() {
        use std::io::Write as _;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let _socket = connect_narrow(to, None, 4 * 1024).unwrap();
        let (mut sender, _) = listener.accept().unwrap();
        sender.set_nonblocking(true).unwrap();
        sockopt::set_socket_send_buffer_size(&sender, 4 * 1024).unwrap();
        let mut taken = 0;
        while let Ok(bytes) = sender.write(&[0; 1024]) {
            taken += bytes;
        }
        assert!(taken < 128 * 1024, "{taken}");
    }
}
