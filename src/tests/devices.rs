//! A device is known by its proof, and a stolen token is not enough.

use std::time::Duration;

use bytes::Bytes;
use damso::model::limits::DEVICES_PER_USER_MAX;
use damso_client::{Client, Options, SignedOut, State};
use damso_proto::address::ConnectionString;
use damso_proto::code::CloseCode;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;

use super::raw::{Raw, encode, frame, hello};
use super::server::Local;

/// How a login of this device with this proof ends; if well, with what the device is told.
fn present(server: &Local, uid: &str, device: &str, proof: &[u8]) -> Result<Bytes, CloseCode> {
    let string: ConnectionString = server.string(uid).parse().expect("a connection string");
    let mut raw = Raw::connect(&string).expect("a connection");
    let device_proof = Bytes::copy_from_slice(proof);
    let hello = wire::Hello { device_proof, ..hello(&string, device) };
    raw.write(&encode(&frame(Ask::Hello(hello)))).expect("Hello");
    match raw.next().expect("an answer to Hello") {
        Said::Welcome(welcome) => Ok(welcome.device_proof),
        Said::Closing(closing) => Err(CloseCode::from_number(closing.code).expect("a known code")),
        other => panic!("expected Welcome or Closing, heard {other:?}"),
    }
}

#[test]
fn a_proof_that_was_presented_is_asked_for_and_one_that_was_lost_is_told_again() {
    let mut server = Local::start(&["--shards", "2"]);
    let first = present(&server, "alice", "phone", &[]).expect("a new device");
    assert_eq!(first.len(), 32);
    assert_eq!(present(&server, "alice", "phone", &[]).as_ref(), Ok(&first), "lost: told again");
    assert_ne!(present(&server, "alice", "tablet", &[]).as_ref(), Ok(&first));
    assert_ne!(present(&server, "bob", "phone", &[]).as_ref(), Ok(&first));
    // Another server cannot know what was told, but knows it again.
    server.restart(&["--shards", "2"]);
    assert_eq!(present(&server, "alice", "phone", &first), Ok(Bytes::new()), "known from now on");
    let newer = present(&server, "alice", "tablet", &[]).expect("still unproven");
    assert_eq!(present(&server, "alice", "tablet", &newer), Ok(Bytes::new()));
    for proof in [&[][..], &newer, &[0; 32]] {
        let stolen = present(&server, "alice", "phone", proof);
        assert_eq!(stolen, Err(CloseCode::DeviceUnproven), "{proof:?}");
    }
    for short in [1, 31, 33] {
        let malformed = present(&server, "alice", "phone", &vec![1; short]);
        assert_eq!(malformed, Err(CloseCode::Malformed), "{short} bytes");
    }
    assert_eq!(present(&server, "alice", "phone", &first), Ok(Bytes::new()), "the owner comes in");
}

#[test]
fn a_person_has_ten_proven_devices_and_one_more_is_refused() {
    let server = Local::start(&["--shards", "1"]);
    let proofs: Vec<Bytes> = (0..DEVICES_PER_USER_MAX)
        .map(|n| {
            let device = format!("d{n}");
            let proof = present(&server, "alice", &device, &[]).expect("room");
            assert_eq!(present(&server, "alice", &device, &proof), Ok(Bytes::new()));
            proof
        })
        .collect();
    let refused = present(&server, "alice", "one more", &[]);
    assert_eq!(refused, Err(CloseCode::TooManyDevices));
    assert_eq!(present(&server, "alice", "d0", &proofs[0]), Ok(Bytes::new()));
    assert!(present(&server, "bob", "one more", &[]).is_ok());
    server.revoke("alice", Some("d0")).expect("revoked");
    assert!(present(&server, "alice", "one more", &[]).is_ok(), "there is room again");
    assert_eq!(present(&server, "alice", "d0", &proofs[0]), Err(CloseCode::Kicked));
}

#[test]
fn the_sdk_keeps_its_proof_in_the_snapshot_and_signs_out_without_it() {
    let server = Local::start(&["--shards", "2"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let string: ConnectionString = server.string("alice").parse().expect("a string");
        let come = |options: Options| {
            let client = Client::connect_with(string.clone(), options).expect("a client");
            async move {
                let mut state = client.state();
                let come = state.wait_for(|state| *state == State::Online || state.is_over());
                let come = tokio::time::timeout(Duration::from_secs(20), come).await;
                let state = come.expect("in time").expect("a state").clone();
                (state, client.snapshot())
            }
        };
        let (state, told) = come(Options::default()).await;
        assert_eq!((state, told.proof.0.len()), (State::Online, 32));
        let device = told.device.clone();
        for _ in 0..2 {
            let options = Options { snapshot: told.clone(), ..Options::default() };
            let (state, kept) = come(options).await;
            assert_eq!((state, &kept.proof, &kept.device), (State::Online, &told.proof, &device));
        }
        let (state, _) = come(Options { device, ..Options::default() }).await;
        let code = CloseCode::DeviceUnproven.number();
        assert!(
            matches!(&state, State::SignedOut(SignedOut::Closed { code: was, .. }) if *was == code),
            "{state:?}"
        );
        let (state, _) = come(Options::default()).await;
        assert_eq!(state, State::Online, "as a new device");
    });
}
