//! What a peer may do to a wire.

use proptest::prelude::*;
use ring::aead;
use rustls::ConnectionTrafficSecrets;

use super::kit::{Client, ROOMY};
use crate::connections::{Received, Scratch, Socket as _, WireError};

/// Feeds a wire until it blocks, ends or fails.
fn read(wire: &mut crate::connections::Wire, plain: &mut Vec<u8>) -> Result<Received, WireError> {
    let mut scratch = Scratch::default();
    loop {
        match wire.receive(&mut scratch, plain)? {
            Received::Some => {}
            done => return Ok(done),
        }
    }
}

#[test]
fn bytes_pass_both_ways_through_lines_of_any_width() {
    let sent: Vec<u8> = (0..40_000_u32).map(|at| at as u8).collect();
    for capacity in [1, 7, 300, 5_000, ROOMY] {
        let (mut wire, mut client) = Client::connected(capacity);
        let mut scratch = Scratch::default();
        wire.send(&mut scratch, &sent).unwrap();
        let mut got = Vec::new();
        while got.len() < sent.len() {
            got.extend(client.bytes());
            wire.flush().unwrap();
        }
        assert!(got == sent, "down through {capacity}");
        assert!(wire.is_drained(), "nothing is kept after {capacity}");

        client.say(&sent[..10_000]);
        let mut got = Vec::new();
        while got.len() < 10_000 {
            wire.receive(&mut scratch, &mut got).unwrap();
            client.pump();
        }
        assert!(got == sent[..10_000], "up through {capacity}");
    }
}

#[test]
fn a_wire_moves_between_shards_with_what_was_left_over() {
    let (mut wire, mut client) = Client::connected(600);
    let mut scratch = Scratch::default();
    client.say(&[1; 1_000]);
    let mut got = Vec::new();
    wire.receive(&mut scratch, &mut got).unwrap();
    wire.send(&mut scratch, &[2; 1_000]).unwrap();
    assert!(got.is_empty() && !wire.is_drained(), "half a record each way");
    let mut wire = wire.detach().unwrap().attach().unwrap();
    let mut down = Vec::new();
    for _ in 0..10 {
        down.extend(client.bytes());
        wire.flush().unwrap();
        wire.receive(&mut scratch, &mut got).unwrap();
    }
    assert_eq!((got, down), (vec![1; 1_000], vec![2; 1_000]));
}

#[test]
fn new_keys_are_taken_and_answered() {
    let (mut wire, mut client) = Client::connected(ROOMY);
    let mut scratch = Scratch::default();
    for round in 0..3 {
        client.tls.refresh_traffic_keys().unwrap();
        client.say(&[round; 100]);
        let mut got = Vec::new();
        read(&mut wire, &mut got).unwrap();
        assert_eq!(got, [round; 100]);
        wire.send(&mut scratch, &[round; 50]).unwrap();
        assert_eq!(client.bytes(), [round; 50]);
    }
}

#[test]
fn a_closed_connection_has_ended_after_its_last_bytes() {
    let (mut wire, mut client) = Client::connected(ROOMY);
    client.say(b"last");
    client.tls.send_close_notify();
    client.pump();
    let mut got = Vec::new();
    assert_eq!(read(&mut wire, &mut got).unwrap(), Received::End);
    assert_eq!(got, b"last");
    assert_eq!(wire.receive(&mut Scratch::default(), &mut got).unwrap(), Received::End);
}

#[test]
fn a_handshake_message_cut_in_two_records_harms_no_send_between() {
    let (mut wire, mut client) = Client::connected(ROOMY);
    let Client { socket, cable: _cable, tls, .. } = &mut client;
    let tls = std::mem::replace(tls, Client::new(ROOMY).1.tls);
    let (seq, secrets) = tls.dangerous_extract_secrets().unwrap().tx;
    // KeyUpdate(not requested) is 24, 0, 0, 1, 0: its first two bytes, then its last three.
    socket.try_write(&seal(&secrets, seq, &[24, 0])).unwrap();
    let mut scratch = Scratch::default();
    assert_eq!(read(&mut wire, &mut Vec::new()).unwrap(), Received::Blocked);
    for _ in 0..3 {
        wire.send(&mut scratch, b"meanwhile").unwrap();
    }
    let wire = wire.detach().unwrap();
    let mut wire = wire.attach().unwrap();
    socket.try_write(&seal(&secrets, seq + 1, &[0, 1, 0])).unwrap();
    assert_eq!(read(&mut wire, &mut Vec::new()).unwrap(), Received::Blocked);
    wire.send(&mut scratch, b"after").unwrap();
    wire.end(&mut scratch);
}

/// One TLS 1.3 record with a handshake fragment.
fn seal(secrets: &ConnectionTrafficSecrets, seq: u64, fragment: &[u8]) -> Vec<u8> {
    let (algorithm, key, iv) = match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&aead::AES_128_GCM, key, iv),
        ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&aead::AES_256_GCM, key, iv),
        ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => {
            (&aead::CHACHA20_POLY1305, key, iv)
        }
        _ => panic!("a suite that TLS 1.3 does not have"),
    };
    let mut nonce: [u8; 12] = iv.as_ref().try_into().unwrap();
    for (byte, seq) in nonce[4..].iter_mut().zip(seq.to_be_bytes()) {
        *byte ^= seq;
    }
    let key = aead::LessSafeKey::new(aead::UnboundKey::new(algorithm, key.as_ref()).unwrap());
    let mut inner = fragment.to_vec();
    inner.push(22);
    let length = (inner.len() + 16) as u8;
    let header = [23, 3, 3, 0, length];
    let nonce = aead::Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, aead::Aad::from(header), &mut inner).unwrap();
    [&header[..], &inner].concat()
}

#[test]
fn what_is_not_tls_is_a_typed_error_at_once() {
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 64], &[0xff; 64], &[22, 3, 1, 0xff, 0xff]]
    {
        let (mut wire, client) = Client::new(ROOMY);
        client.socket.try_write(garbage).unwrap();
        let outcome = read(&mut wire, &mut Vec::new());
        assert!(matches!(outcome, Err(WireError::Tls(_))), "{garbage:?}: {outcome:?}");
    }
}

#[test]
fn a_handshake_message_without_end_is_not_kept() {
    let (mut wire, client) = Client::new(ROOMY);
    // A ClientHello of 60,000 bytes, in records of 1,000.
    let mut body = vec![1, 0, 0xea, 0x60];
    let mut outcome = Ok(Received::Blocked);
    for _ in 0..60 {
        body.resize(1_000, 0);
        let record = [&[22, 3, 1, 3, 0xe8][..], &body].concat();
        client.socket.try_write(&record).unwrap();
        outcome = read(&mut wire, &mut Vec::new());
        if outcome.is_err() {
            break;
        }
        body.clear();
    }
    assert!(matches!(outcome, Err(WireError::Unexpected(_))), "{outcome:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_stream_never_brings_other_bytes(at in 0_usize..3_000, mask in 1_u8.., cut in 1_usize..900) {
        let (mut wire, mut client) = Client::new(ROOMY);
        let mut scratch = Scratch::default();
        let (mut sent, mut got) = (0, Vec::new());
        let said: Vec<u8> = (0..2_000_u32).map(|byte| byte as u8).collect();
        let mut alive = true;
        for _ in 0..12 {
            if !client.tls.is_handshaking() && sent == 0 {
                std::io::Write::write_all(&mut client.tls.writer(), &said).unwrap();
            }
            let mut flight = Vec::new();
            while client.tls.wants_write() {
                client.tls.write_tls(&mut flight).unwrap();
            }
            for piece in flight.chunks_mut(cut) {
                let hit = at.checked_sub(sent).filter(|hit| *hit < piece.len());
                if let Some(hit) = hit {
                    piece[hit] ^= mask;
                }
                sent += piece.len();
                client.socket.try_write(piece).unwrap();
                if wire.receive(&mut scratch, &mut got).is_err() {
                    alive = false;
                    break;
                }
            }
            if !alive {
                break;
            }
            let mut answer = [0; 8_192];
            if let Ok(read) = client.socket.try_read(&mut answer) {
                let mut answer = &answer[..read];
                // A damaged handshake fails here instead.
                if client.tls.read_tls(&mut answer).is_err()
                    || client.tls.process_new_packets().is_err()
                {
                    break;
                }
            }
        }
        prop_assert!(said.starts_with(&got) || got.is_empty());
    }
}
