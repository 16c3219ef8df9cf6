//! The PROXY protocol, version 2: a trusted proxy says for whom it made a connection.
//!
//! ```text
//! | signature, 12 bytes | version, command | family, transport | length u16 BE | addresses | more |
//! |------------------------- 16 bytes, always -------------------------------|--- length ---|
//! ```
//!
//! Sent once, before TLS. Of version 1, of other transports and of longer headers nothing is
//! read but the first 16 bytes. What follows the addresses (TLVs) is passed over.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::connections::{Interest, Socket};
use crate::model::limits;

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and transport, length.
const FIXED_BYTES: usize = 16;
/// By the proxy itself: it looks whether this end is well.
const LOCAL: u8 = 0x20;
/// For somebody else.
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

/// The networks whose connections begin with a header, and no others'.
#[derive(Clone, Default, Debug)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// These networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether connections from `address` begin with a header.
    pub(super) fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Why a connection from a proxy is of no use.
#[derive(thiserror::Error, Debug)]
pub(super) enum Bad {
    #[error("it went away within its header")]
    Gone(#[from] io::Error),
    #[error("it does not begin with a PROXY header of version 2 for TCP")]
    Malformed,
    #[error("its PROXY header is longer than any may be")]
    TooLong,
}

/// Reads the header and nothing behind it. `None`: the connection is the proxy's own.
pub(super) async fn told(socket: &dyn Socket) -> Result<Option<IpAddr>, Bad> {
    let mut header = [0; limits::PROXY_HEADER_BYTES_MAX];
    let (fixed, rest) = header.split_at_mut(FIXED_BYTES);
    read(socket, fixed).await?;
    let rest = rest.get_mut(..length(fixed)?).ok_or(Bad::TooLong)?;
    read(socket, rest).await?;
    let (command, family) = (fixed[12], fixed[13]);
    if command == LOCAL {
        return Ok(None);
    }
    source(family, rest)
}

/// How much follows.
fn length(fixed: &[u8]) -> Result<usize, Bad> {
    match *fixed {
        [ref signature @ .., command, _, high, low]
            if *signature == SIGNATURE && matches!(command, LOCAL | PROXY) =>
        {
            Ok(usize::from(u16::from_be_bytes([high, low])))
        }
        _ => Err(Bad::Malformed),
    }
}

/// Whose connection it is: the source, then the destination, then both ports.
fn source(family: u8, addresses: &[u8]) -> Result<Option<IpAddr>, Bad> {
    match family {
        UNSPECIFIED => Ok(None),
        TCP_OVER_IPV4 if addresses.len() >= 12 => {
            let (source, _) = addresses.split_first_chunk::<4>().ok_or(Bad::Malformed)?;
            Ok(Some(Ipv4Addr::from(*source).into()))
        }
        TCP_OVER_IPV6 if addresses.len() >= 36 => {
            let (source, _) = addresses.split_first_chunk::<16>().ok_or(Bad::Malformed)?;
            Ok(Some(Ipv6Addr::from(*source).to_canonical()))
        }
        _ => Err(Bad::Malformed),
    }
}

async fn read(socket: &dyn Socket, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        poll_fn(|context| socket.poll_ready(Interest::Read, context)).await?;
        match socket.try_read(into) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => into = &mut into[read..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(command: u8, family: u8, length: u16) -> Vec<u8> {
        [&SIGNATURE[..], &[command, family], &length.to_be_bytes()].concat()
    }

    #[test]
    fn only_version_2_is_a_header() {
        assert_eq!(length(&fixed(PROXY, TCP_OVER_IPV4, 12)).expect("one"), 12);
        assert_eq!(length(&fixed(LOCAL, UNSPECIFIED, 0)).expect("one"), 0);
        assert_eq!(length(&fixed(PROXY, TCP_OVER_IPV6, u16::MAX)).expect("one"), 65_535);
        let v1 = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
        let mut garbled = fixed(PROXY, TCP_OVER_IPV4, 12);
        garbled[11] = b'\r';
        for bad in [&v1[..16], &garbled, &fixed(0x11, 0x11, 12), &fixed(0x22, 0x11, 12), &[0; 16]] {
            assert!(matches!(length(bad), Err(Bad::Malformed)), "{bad:?}");
        }
    }

    #[test]
    fn the_source_is_named_for_tcp_alone_and_whole() {
        let four: IpAddr = "192.0.2.1".parse().expect("an address");
        let six: IpAddr = "2001:db8::1".parse().expect("an address");
        let mut of_four = vec![192, 0, 2, 1, 192, 0, 2, 2, 0, 1, 0, 2];
        let mut of_six = vec![0; 36];
        of_six[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        of_six[15] = 1;
        let mut mapped = vec![0; 36];
        mapped[10..16].copy_from_slice(&[0xff, 0xff, 192, 0, 2, 1]);
        let told = |family, addresses: &[u8]| source(family, addresses).ok().flatten();
        assert_eq!(told(TCP_OVER_IPV4, &of_four), Some(four));
        assert_eq!(told(TCP_OVER_IPV6, &of_six), Some(six));
        assert_eq!(told(TCP_OVER_IPV6, &mapped), Some(four), "one address, however it is written");
        assert!(matches!(source(UNSPECIFIED, &[]), Ok(None)));
        for family in [0x12, 0x22, 0x31, 0x10, 0xff] {
            assert!(matches!(source(family, &[0; 216]), Err(Bad::Malformed)), "{family}");
        }
        of_four.pop();
        of_six.pop();
        assert!(
            source(TCP_OVER_IPV4, &of_four).is_err() && source(TCP_OVER_IPV6, &of_six).is_err()
        );
    }

    #[test]
    fn networks_are_trusted_as_they_are_written() {
        let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().expect("one"));
        let proxies = Proxies::new(networks.to_vec());
        for (address, trusted) in
            [("10.255.0.1", true), ("11.0.0.1", false), ("2001:db8:1::", true), ("::1", false)]
        {
            assert_eq!(proxies.trusts(address.parse().expect("one")), trusted, "{address}");
        }
        assert!(!Proxies::default().trusts("127.0.0.1".parse().expect("one")));
    }
}
