//! Connections through a proxy: it says whose they are, and that is what counts.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use damso_proto::address::ConnectionString;

use super::process::Process;
use super::raw::{Raw, plain, trusting};

const FAILED: &str = "damso_logins_failed_total";
const TURNED_AWAY: &str = "damso_connections_turned_away_total";

/// What begins a connection that a proxy makes for `source`.
fn header(source: IpAddr) -> Vec<u8> {
    match source {
        IpAddr::V4(source) => {
            let addresses = [source.octets(), [192, 0, 2, 255]].concat();
            with(0x21, 0x11, &[&addresses[..], &[0x30, 0x39, 0x1d, 0x13]].concat())
        }
        IpAddr::V6(source) => {
            let addresses = [source.octets(), [0xfe; 16]].concat();
            with(0x21, 0x21, &[&addresses[..], &[0x30, 0x39, 0x1d, 0x13]].concat())
        }
    }
}

fn with(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).expect("not so long").to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, rest].concat()
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A server behind proxies on loopback.
struct Behind {
    server: Process,
    string: String,
    target: ConnectionString,
}

impl Behind {
    fn start(arguments: &[&str]) -> Self {
        let server = Process::start(&[&["--shards", "1"], arguments].concat());
        let string = server.string("alice");
        let target = string.parse().expect("a connection string");
        Self { server, string, target }
    }

    /// A connection that begins with these bytes.
    fn begin(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = plain(&self.target).expect("a connection");
        stream.write_all(bytes).expect("bytes go out");
        stream
    }

    /// Logs in over a connection.
    fn log_in(&self, stream: TcpStream) -> Raw {
        let mut raw = Raw::over(stream, &self.target, trusting(&[b"damso/1"]));
        raw.come_in(&self.string.parse().expect("as before"), "d", Default::default());
        raw
    }

    /// The server ends it without a word.
    fn is_closed(mut stream: TcpStream) -> bool {
        let mut heard = Vec::new();
        match stream.read_to_end(&mut heard) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            Ok(_) | Err(_) => heard.is_empty(),
        }
    }
}

#[test]
fn whoever_comes_through_a_proxy_is_told_apart_by_its_header_alone() {
    let behind = Behind::start(&["--trusted-proxies", "127.0.0.0/8,2001:db8::/32"]);
    let first = address("192.0.2.7");
    let more = [&header(first)[16..], &[3, 0, 4, 1, 2, 3, 4]].concat();
    let longest = [&header(first)[16..], &[4; 508]].concat();
    for good in [
        header(first),
        header(address("2001:db8::7")),
        with(0x21, 0x11, &more),
        with(0x21, 0x11, &longest),
        with(0x20, 0x00, &[]),
        with(0x20, 0x11, &header(first)[16..]),
    ] {
        behind.log_in(behind.begin(&good)).fence().expect("a session");
    }
    // However it comes.
    let mut pieces = behind.begin(&[]);
    for byte in header(first) {
        pieces.write_all(&[byte]).expect("a byte goes out");
    }
    behind.log_in(pieces).fence().expect("a session");

    let too_long = [&header(first)[16..], &[4; 509]].concat();
    let bad = [
        b"PROXY TCP4 192.0.2.7 192.0.2.255 12345 7443\r\n".to_vec(),
        with(0x21, 0x12, &header(first)[16..]),
        with(0x21, 0x31, &[0; 216]),
        with(0x11, 0x11, &header(first)[16..]),
        with(0x21, 0x11, &[192, 0, 2, 7]),
        with(0x21, 0x11, &too_long),
        vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0],
    ];
    for bytes in &bad {
        assert!(Behind::is_closed(behind.begin(bytes)), "{bytes:?}");
    }
    assert_eq!(behind.server.counted(FAILED, "reason=\"proxy\""), bad.len() as f64);
}

#[test]
fn a_proxy_that_does_not_say_whose_connection_it_is_has_a_handshakes_time() {
    let behind = Behind::start(&["--trusted-proxies", "127.0.0.0/8"]);
    let begun = Instant::now();
    let stream = behind.begin(&header(address("192.0.2.7"))[..20]);
    behind.log_in(behind.begin(&header(address("192.0.2.8")))).fence().expect("others go on");
    assert!(Behind::is_closed(stream));
    assert!(begun.elapsed() >= Duration::from_secs(5), "after {:?}", begun.elapsed());
    assert_eq!(behind.server.counted(FAILED, "reason=\"proxy_late\""), 1.0);
}

#[test]
fn from_elsewhere_a_header_is_no_handshake() {
    let behind = Behind::start(&["--trusted-proxies", "192.0.2.0/24"]);
    behind.log_in(behind.begin(&[])).fence().expect("a session");
    let mut stream = behind.begin(&header(address("192.0.2.7")));
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    // What it hears is TLS' own word for it.
    let mut heard = Vec::new();
    drop(stream.read_to_end(&mut heard));
    behind
        .server
        .wait_until("a failed handshake", |server| server.counted(FAILED, "reason=\"tls\"") == 1.0);
}

#[test]
fn the_address_that_a_proxy_names_is_the_one_that_counts() {
    // A tenth of 160 may be strangers, an eighth of those from one address.
    let behind = Behind::start(&["--trusted-proxies", "127.0.0.0/8", "--connections", "160"]);
    let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
    let waiting = [behind.begin(&header(one)), behind.begin(&header(one))];
    // Connections are accepted in order, and headers read before anybody logs in.
    behind.log_in(behind.begin(&header(other))).fence().expect("another address");
    assert!(Behind::is_closed(behind.begin(&header(one))));
    assert_eq!(behind.server.counted(TURNED_AWAY, "reason=\"address\""), 1.0);
    behind.log_in(behind.begin(&header(other))).fence().expect("another address");
    drop(waiting);
    behind.server.wait_until("the end of those who waited", |server| {
        server.counted(FAILED, "reason=\"gone\"") == 2.0
    });
    behind.log_in(behind.begin(&header(one))).fence().expect("there is room again");
}

#[test]
fn an_address_of_which_too_many_handshakes_fail_is_turned_away_for_a_while() {
    let behind = Behind::start(&["--trusted-proxies", "127.0.0.0/8"]);
    let (one, other) = (address("2001:db8::1"), address("192.0.2.2"));
    let garbage = [header(one), vec![0xa7; 64]].concat();
    let mut failed = 0;
    while behind.server.counted(TURNED_AWAY, "reason=\"failures\"") == 0.0 {
        for _ in 0..200 {
            let mut stream = behind.begin(&garbage);
            drop(stream.read_to_end(&mut Vec::new()));
        }
        failed += 200;
        assert!(failed < 40_000, "nobody is turned away");
    }
    assert!(failed >= 2_000, "after {failed}");
    behind.log_in(behind.begin(&header(other))).fence().expect("another address");
    std::thread::sleep(Duration::from_millis(500));
    behind.log_in(behind.begin(&header(one))).fence().expect("time has passed");
}
