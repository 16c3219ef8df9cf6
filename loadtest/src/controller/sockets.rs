//! What the kernel holds for a server's sockets, as `ss` of iproute2 tells it.
//!
//! ```text
//! ss -tmnHO state established ( sport = :7443 )
//! 0 61440 127.0.0.1:7443 127.1.3.9:40212 skmem:(r0,rb131072,t0,tb87040,f2048,w88064,o0,bl0,d0)
//! ```
//!
//! Only the server's ends are asked for. Counted is what is charged to a socket: received and not
//! read (r), sent or to be sent and not acknowledged (w), put aside for more (f), options (o) and
//! the backlog (bl). The socket itself, some 3 KB whether anybody reads or not, is not.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::Command;

/// The server's end of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Socket {
    peer: SocketAddr,
    /// Not acknowledged by the other end, which may hold it, but nobody has read it.
    unsent_bytes: u64,
    kernel_bytes: u64,
}

/// Some of a server's sockets.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Held {
    /// How many there are.
    pub(super) sockets: u64,
    /// Those of them that hold bytes which the other end's kernel has no room for.
    pub(super) full: u64,
    /// What the kernel holds for them.
    pub(super) bytes: u64,
    /// The most that it holds for one.
    pub(super) bytes_max: u64,
}

/// Reads the sockets of the server on `port` whose other ends are `peers`.
///
/// # Errors
/// Why nothing is known, such as that there is no `ss`.
pub(super) fn held(port: u16, peers: &HashSet<SocketAddr>) -> Result<Held, String> {
    let filter = format!("( sport = :{port} )");
    let output = Command::new("ss")
        .args(["-tmnHO", "state", "established", &filter])
        .output()
        .map_err(|error| format!("ss (iproute2) cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("ss: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut held = Held::default();
    for line in text.lines() {
        let socket = parse(line).ok_or_else(|| format!("ss says something unknown: {line}"))?;
        if peers.contains(&socket.peer) {
            held.sockets += 1;
            held.full += u64::from(socket.unsent_bytes > 0);
            held.bytes += socket.kernel_bytes;
            held.bytes_max = held.bytes_max.max(socket.kernel_bytes);
        }
    }
    Ok(held)
}

fn parse(line: &str) -> Option<Socket> {
    let mut fields = line.split_whitespace();
    let unsent_bytes = fields.nth(1)?.parse().ok()?;
    let peer = fields.nth(1)?.replace("[::ffff:", "").replace(']', "").parse().ok()?;
    let (_, rest) = line.split_once("skmem:(")?;
    let (memory, _) = rest.split_once(')')?;
    let charged = memory.split(',').filter_map(|part| {
        let at = part.find(|c: char| c.is_ascii_digit())?;
        let (name, bytes) = part.split_at(at);
        ["r", "w", "f", "o", "bl"].contains(&name).then(|| bytes.parse::<u64>().ok())?
    });
    Some(Socket { peer, unsent_bytes, kernel_bytes: charged.sum() })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn what_is_charged_to_a_socket_is_summed() {
        let line = "0      61440      127.0.0.1:7443   127.1.3.9:40212 \
                    skmem:(r1,rb131072,t5,tb87040,f2048,w88064,o16,bl8,d3)";
        let (peer, kernel_bytes) =
            ("127.1.3.9:40212".parse().unwrap(), 1 + 2_048 + 88_064 + 16 + 8);
        assert_eq!(parse(line), Some(Socket { peer, unsent_bytes: 61_440, kernel_bytes }));
        assert_eq!(parse("Netid State"), None);
    }

    #[test]
    fn a_socket_whose_other_end_does_not_read_is_full() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let reader = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let peers = [reader.local_addr().unwrap()].into();
        let empty = held(port, &peers).unwrap();
        assert_eq!((empty.sockets, empty.full), (1, 0));
        server.set_nonblocking(true).unwrap();
        let mut said = 0;
        while let Ok(bytes) = server.write(&[0; 65_536]) {
            said += bytes;
        }
        let full = held(port, &peers).unwrap();
        assert_eq!((full.sockets, full.full, full.bytes), (1, 1, full.bytes_max));
        assert!(full.bytes > 4_096 && said > 0, "{full:?}");
        // The other end is not the server's.
        assert_eq!(held(port, &HashSet::new()).unwrap(), Held::default());
    }
}
