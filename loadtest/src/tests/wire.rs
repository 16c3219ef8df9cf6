//! The bare loop as somebody else's client meets it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use damso_proto::wire::{self, client_frame, server_frame};
use prost::Message as _;

#[test]
fn a_plain_yardstick_says_where_it_is_and_answers_in_the_clear() {
    let mut server = Command::new(env!("CARGO_BIN_EXE_damso-loadtest"))
        .args(["bare", "--plain", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut line = String::new();
    let stdout = server.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("it prints where it is");
    let address = line.trim().strip_prefix("plain://").expect("it says that it is plain");
    let mut stream = TcpStream::connect(address).expect("it listens there");
    let ping = Some(client_frame::Kind::Ping(wire::Ping { id: 7 }));
    let asked = wire::ClientFrame { kind: ping, ..Default::default() };
    stream.write_all(&asked.encode_length_delimited_to_vec()).expect("it takes a frame");
    let pong = Some(server_frame::Kind::Pong(wire::Pong { id: 7, time_ms: 0 }));
    let said = wire::ServerFrame { kind: pong, ..Default::default() };
    let mut answer = vec![0; said.encode_length_delimited_to_vec().len()];
    let read = stream.read_exact(&mut answer);
    server.kill().and_then(|()| server.wait()).expect("it ends");
    read.expect("it answers");
    assert_eq!(answer, said.encode_length_delimited_to_vec());
}
