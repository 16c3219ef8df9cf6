//! Bytes to what was said and back, as the server does it: a send heard, an event encoded.

use criterion::{BatchSize, Criterion, Throughput};
use damso::model::event::EncodedEvent;
use damso_proto::frame::{encode_client, encode_server};
use damso_proto::id::{ID_EPOCH_MS, Key};
use damso_proto::server::{Said, ServerConn, ServerOptions};
use damso_proto::time::Moment;
use damso_proto::wire::{self, client_frame, event, send, server_frame};

const NOW: Moment = Moment::from_micros(1_000_000);
/// 60 bytes, a common length of a message.
const TEXT: &str = "점심 먹으러 갈 사람? 열두 시에 정문 앞에서.";
const _: () = assert!(TEXT.len() == 60);
/// Sends that one reading brings while a shard is busy.
const BATCH: u64 = 16;

/// All benchmarks of this file.
pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(1));
    let one = send_bytes(7);
    group.bench_function("hear a send", |bencher| {
        let mut conn = open();
        bencher.iter(|| hear(&mut conn, &one));
    });
    let (head, tail) = one.split_at(one.len() / 2);
    group.bench_function("hear a send in two halves", |bencher| {
        let mut conn = open();
        bencher.iter(|| hear(&mut conn, head) + hear(&mut conn, tail));
    });
    group.bench_function("encode an event once for all", |bencher| {
        let event = an_event();
        bencher.iter(|| EncodedEvent::new(&event));
    });
    group.bench_function("encode an ack", |bencher| {
        let ack = wire::Ack {
            seq: 301,
            id: 1 << 50,
            queue_us: 40,
            commit_us: 900,
            ..wire::Ack::default()
        };
        let kind = Some(server_frame::Kind::Ack(ack));
        let frame = wire::ServerFrame { kind, id: 7, more: false };
        bencher.iter(|| encode_server(&frame));
    });
    group.bench_function("wrap a stored event for sending", |bencher| {
        let encoded = EncodedEvent::new(&an_event());
        bencher.iter(|| EncodedEvent::from_stored(encoded.event()));
    });
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("hear 16 sends of one reading", |bencher| {
        let bytes: Vec<u8> = (1..=BATCH).flat_map(send_bytes).collect();
        bencher.iter_batched_ref(open, |conn| hear(conn, &bytes), BatchSize::SmallInput);
    });
    group.finish();
}

/// A connection that has logged in and said the last of its Resume frames.
fn open() -> ServerConn {
    let mut conn = ServerConn::new(ServerOptions::default(), NOW);
    let hello = client_frame::Kind::Hello(wire::Hello::default());
    let resume = client_frame::Kind::Resume(wire::Resume { last: true, ..Default::default() });
    for kind in [hello, resume] {
        let frame = wire::ClientFrame { kind: Some(kind), ..Default::default() };
        let said = conn.next(&mut &encode_client(&frame)[..], NOW);
        assert!(matches!(said, Ok(Some(_))), "{said:?}");
        conn.accept(NOW);
    }
    conn
}

fn send_bytes(id: u64) -> Vec<u8> {
    let content = Some(send::Content::Text(TEXT.into()));
    let send = wire::Send { channel: 4_242, content, ..Default::default() };
    let key = Key::new(ID_EPOCH_MS, [7; 10]);
    let frame = wire::ClientFrame {
        kind: Some(client_frame::Kind::Send(send)),
        id,
        key: bytes::Bytes::copy_from_slice(key.as_bytes()),
        ..Default::default()
    };
    encode_client(&frame).to_vec()
}

fn an_event() -> wire::Event {
    wire::Event {
        channel: 4_242,
        seq: 301,
        id: 1 << 50,
        sender: 7_777,
        content: Some(event::Content::Text(TEXT.into())),
        ..Default::default()
    }
}

/// Hears all of `bytes` and answers every request. How many there were.
fn hear(conn: &mut ServerConn, bytes: &[u8]) -> usize {
    let mut input = bytes;
    let mut requests = 0;
    while let Some(said) = conn.next(&mut input, NOW).expect("in order") {
        if let Said::Request(request) = said {
            assert!(request.key.is_some());
            requests += 1;
            conn.answered();
        }
    }
    requests
}
