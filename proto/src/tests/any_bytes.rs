//! Bytes cut anywhere, damaged anywhere, or made of nothing but chance.

use damso_proto::frame;
use damso_proto::limits;
use damso_proto::server::{Fault, Said, ServerConn, ServerOptions};
use damso_proto::time::Moment;
use proptest::prelude::*;

use super::samples;
use super::vector_file::{read, unhex};

const NOW: Moment = Moment::from_micros(1_000_000);
/// What one connection may hold: behind Hello or in a pause, and one reading more.
const HELD_BYTES_MAX: usize = 2 * (limits::FRAME_BYTES_MAX as usize + limits::READ_BYTES_MAX);

/// A server's end that accepts every login and answers every request at once.
struct Run {
    conn: ServerConn,
    heard: Vec<String>,
    fault: Option<Fault>,
    held_max: usize,
}

impl Run {
    fn new() -> Self {
        let conn = ServerConn::new(ServerOptions::default(), NOW);
        Self { conn, heard: Vec::new(), fault: None, held_max: 0 }
    }

    fn take(&mut self, bytes: &[u8]) {
        let mut input = bytes;
        loop {
            let said = self.conn.next(&mut input, NOW);
            self.held_max = self.held_max.max(self.conn.held_bytes());
            match said {
                Ok(None) => break,
                Ok(Some(said)) => {
                    self.heard.push(format!("{said:?}"));
                    match said {
                        Said::Hello(_) => self.conn.accept(NOW),
                        Said::Request(_) | Said::Unknown(_) => self.conn.answered(),
                        _ => {}
                    }
                }
                Err(fault) => {
                    assert!(self.fault.replace(fault).is_none(), "one fault ends it");
                }
            }
        }
        assert!(input.is_empty(), "everything is taken in");
    }

    /// Feeds `bytes` in pieces of the given lengths, over and over.
    fn pieces(bytes: &[u8], lengths: &[usize]) -> Self {
        let mut run = Self::new();
        let mut rest = bytes;
        for length in lengths.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*length).min(rest.len()));
            run.take(piece);
            rest = behind;
        }
        run
    }
}

/// All that a client can say in one connection, in an order that is allowed.
fn a_session() -> Vec<u8> {
    let bytes = |names: &[&str], or_else: bool| {
        let named = |name: &str| names.contains(&name);
        let mut samples = samples::client();
        samples.retain(|s| named(s.name) != or_else);
        samples.iter().flat_map(|sample| sample.bytes()).collect::<Vec<u8>>()
    };
    let login =
        ["hello-again", "hello", "resume", "resume-first-time", "resume-part", "resume-last-part"];
    [
        bytes(&["hello"], false),
        bytes(&["resume-part"], false),
        bytes(&["resume-last-part"], false),
        bytes(&login, true),
    ]
    .concat()
}

#[test]
fn one_byte_at_a_time_says_what_all_at_once_says() {
    let session = a_session();
    let whole = Run::pieces(&session, &[session.len()]);
    assert_eq!(whole.fault, None);
    assert_eq!(whole.heard.len(), samples::client().len() - 3);
    let single = Run::pieces(&session, &[1]);
    assert_eq!(single.heard, whole.heard);
    assert!(single.held_max < 1_024, "{} bytes", single.held_max);
}

#[test]
fn whatever_a_session_is_cut_down_to_it_waits_for_the_rest() {
    let session = a_session();
    let whole = Run::pieces(&session, &[session.len()]).heard;
    for end in 0..session.len() {
        let run = Run::pieces(&session[..end], &[session.len()]);
        assert_eq!(run.fault, None, "cut at {end}");
        assert!(whole.starts_with(&run.heard), "cut at {end}");
    }
}

#[test]
fn a_hostile_frame_ends_the_same_however_it_is_cut() {
    for block in read("hostile.txt").iter().filter(|block| block["to"] == "server") {
        let login: &[&str] = match &block["state"][..] {
            "greeting" => &[],
            "resuming" => &["hello"],
            _ => &["hello", "resume"],
        };
        let frames = samples::client();
        let login = login.iter().flat_map(|name| {
            frames.iter().find(|sample| sample.name == *name).expect("a sample").bytes()
        });
        let bytes: Vec<u8> = login.chain(unhex(&block["bytes"])).collect();
        let whole = Run::pieces(&bytes, &[bytes.len()]);
        let single = Run::pieces(&bytes, &[1]);
        assert_eq!(single.heard, whole.heard, "{}", block["name"]);
        // How much more was announced depends on how much of the length came at once.
        assert_eq!(single.fault.map(|it| it.close_code()), whole.fault.map(|it| it.close_code()));
    }
}

proptest! {
    #[test]
    fn how_bytes_are_cut_changes_nothing(lengths in prop::collection::vec(1_usize..200, 1..40)) {
        let session = a_session();
        let whole = Run::pieces(&session, &[session.len()]);
        prop_assert_eq!(Run::pieces(&session, &lengths).heard, whole.heard);
    }

    #[test]
    fn damage_is_survived_however_it_is_cut(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        lengths in prop::collection::vec(1_usize..300, 1..8),
    ) {
        let mut session = a_session();
        for (at, byte) in damage {
            let at = at.index(session.len());
            session[at] = byte;
        }
        let whole = Run::pieces(&session, &[session.len()]);
        let cut = Run::pieces(&session, &lengths);
        prop_assert_eq!(&cut.heard, &whole.heard);
        prop_assert_eq!(cut.fault.is_some(), whole.fault.is_some());
        prop_assert!(whole.held_max <= HELD_BYTES_MAX && cut.held_max <= HELD_BYTES_MAX);
    }

    #[test]
    fn chance_is_survived_in_every_state(
        bytes in prop::collection::vec(any::<u8>(), 0..4_096),
        login in 0_usize..3,
    ) {
        let frames = ["hello", "resume"];
        let samples = samples::client();
        let login = frames[..login].iter().flat_map(|name| {
            samples.iter().find(|sample| sample.name == *name).expect("a sample").bytes()
        });
        let bytes: Vec<u8> = login.chain(bytes).collect();
        let run = Run::pieces(&bytes, &[bytes.len()]);
        prop_assert!(run.held_max <= HELD_BYTES_MAX);
    }

    /// Chance seldom gets the lengths right, so here they are.
    #[test]
    fn chance_in_well_formed_frames_is_survived(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..40),
    ) {
        let mut run = Run::new();
        for name in ["hello", "resume"] {
            let samples = samples::client();
            run.take(&samples.iter().find(|sample| sample.name == name).expect("a sample").bytes());
        }
        for body in bodies {
            let mut bytes = vec![u8::try_from(body.len()).expect("short")];
            bytes.extend(body);
            run.take(&bytes);
        }
        prop_assert!(run.held_max <= HELD_BYTES_MAX);
    }

    #[test]
    fn a_length_is_read_as_protobuf_writes_it(length in 0_u64..1 << 40, max in 0_u32..1 << 24) {
        let mut bytes = Vec::new();
        prost::encoding::encode_varint(length, &mut bytes);
        match frame::header(&bytes, max) {
            Ok(Some(header)) => {
                prop_assert_eq!(header.body_bytes as u64, length);
                prop_assert_eq!(header.length_bytes, bytes.len());
                prop_assert!(length <= max.into());
            }
            Ok(None) => prop_assert!(false, "the whole length was there"),
            Err(_) => prop_assert!(length > max.into()),
        }
    }
}
