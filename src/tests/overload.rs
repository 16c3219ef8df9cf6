//! Ten times more than a server can do: refused with a time, and what was taken in is there, in order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use damso_loadtest::checker::{BodyHash, Checker, Content, Observation, Seen, SessionNo};
use damso_proto::code::{Code, Retry};
use damso_proto::id::{ChannelNo, Key, MessageId, Seq, UserNo};
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;

use super::process::Process;
use super::raw::{Raw, encode, fresh_key, text};
use super::server::UNBOUND;

/// Connections that send: with 32 requests in flight each, more than may wait in a channel.
const SENDERS: usize = 60;
/// Connections of one person.
const DEVICES: usize = 15;
/// Messages of each, without waiting for any answer.
const EACH: usize = 150;
/// Longest that anybody else waits meanwhile.
const SOON: Duration = Duration::from_secs(10);
/// What is taken in to be sorted out is not kept.
const GROWTH_BYTES_MAX: usize = 96 << 20;

struct Sender {
    raw: Raw,
    user: UserNo,
    session: SessionNo,
}

fn log_in(server: &Process, uid: &str, device: &str) -> (Raw, UserNo) {
    let (raw, heard) = Raw::log_in(&server.string(uid), device, Default::default());
    match heard.first() {
        Some(Said::Welcome(welcome)) => (raw, UserNo::new(welcome.user)),
        other => panic!("Welcome comes first, not {other:?}"),
    }
}

fn group(raw: &mut Raw, uids: &[String]) -> ChannelNo {
    let ask =
        wire::CreateChannel { name: "g".to_owned(), uids: uids.to_vec(), ..Default::default() };
    match raw.ask(Ask::CreateChannel(ask)).0 {
        Said::Channel(info) => ChannelNo::new(info.channel),
        other => panic!("expected a channel, heard {other:?}"),
    }
}

impl Sender {
    fn sent(&self, channel: ChannelNo, key: Key, body: &str) -> Observation {
        let body = BodyHash::of_text(body);
        Observation::Sent { sender: self.user, session: self.session, channel, key, body }
    }

    /// Sends all of it in one flight, and reads what each was answered. Returns the refused ones.
    fn flood(
        &mut self,
        channel: ChannelNo,
        bodies: Vec<(Key, String)>,
        seen: &Mutex<Checker>,
        acked: &AtomicUsize,
    ) -> Vec<(Key, String)> {
        let (mut flight, mut open) = (Vec::new(), BTreeMap::new());
        for (id, (key, body)) in (1_000_000..).zip(bodies) {
            let kind = Some(text(channel.get(), &body));
            let key_bytes = Bytes::copy_from_slice(key.as_bytes());
            let frame = wire::ClientFrame { kind, id, key: key_bytes, ..Default::default() };
            flight.extend(encode(&frame));
            seen.lock().expect("nobody panics").observe(self.sent(channel, key, &body));
            open.insert(id, (key, body));
        }
        self.raw.write(&flight).expect("one flight");
        let mut refused = Vec::new();
        while !open.is_empty() {
            let frame = self.raw.next_frame().expect("an answer");
            let Some((key, body)) = open.remove(&frame.id) else { continue };
            match frame.kind {
                Some(Said::Ack(ack)) => {
                    let (seq, id) = (Seq::new(ack.seq), MessageId::new(ack.id));
                    let duplicate = ack.duplicate;
                    let observed = Observation::Acked { key, channel, seq, id, duplicate };
                    seen.lock().expect("nobody panics").observe(observed);
                    acked.fetch_add(1, Ordering::Relaxed);
                }
                Some(Said::Refusal(refusal)) => {
                    assert_eq!(Code::from_number(refusal.code), Some(Code::Overloaded));
                    assert_eq!(Retry::of_number(refusal.code), Retry::Later);
                    assert_eq!(refusal.retry_after_ms, 500, "{refusal:?}");
                    seen.lock().expect("nobody panics").observe(Observation::Refused { key });
                    refused.push((key, body));
                }
                other => panic!("expected an ack or a refusal, heard {other:?}"),
            }
        }
        refused
    }
}

/// Reports all that stands in a channel.
fn read_back(raw: &mut Raw, channel: ChannelNo, checker: &mut Checker) {
    let mut at = 0;
    loop {
        let direction = wire::read_history::Direction::After.into();
        let read = wire::ReadHistory { channel: channel.get(), seq: at, direction, rows: 100 };
        let pages = raw.pages(Ask::ReadHistory(read));
        for event in pages.iter().flat_map(|page| &page.rows).filter_map(|row| row.event.as_ref()) {
            let content = match &event.content {
                Some(wire::event::Content::Text(text)) => Content::Message {
                    sender: UserNo::new(event.sender),
                    body: BodyHash::of_text(text),
                },
                other => Content::Other(BodyHash::of_text(&format!("{other:?}"))),
            };
            let (seq, id) = (Seq::new(event.seq), MessageId::new(event.id));
            checker.observe(Observation::Stored { seen: Seen { channel, seq, id, content } });
            at = event.seq;
        }
        let head = pages.last().expect("a page").as_of;
        if at >= head {
            let (from, head) = (Seq::new(1), Seq::new(head));
            return checker.observe(Observation::ReadBack { channel, from, head });
        }
    }
}

#[test]
fn what_is_too_much_is_refused_with_a_time_and_the_rest_is_there_in_order() {
    let server = Process::start(&UNBOUND);
    let uids: Vec<_> = (0..SENDERS / DEVICES).map(|person| format!("p{person}")).collect();
    let mut senders: Vec<Sender> = (0..SENDERS)
        .map(|at| {
            let (raw, user) = log_in(&server, &uids[at / DEVICES], &format!("d{at}"));
            Sender { raw, user, session: SessionNo(at as u64) }
        })
        .collect();
    let channel = group(&mut senders[0].raw, &uids[1..]);
    let (mut other, _) = log_in(&server, "other", "d");
    let elsewhere = group(&mut other, &[]);
    let seen = Arc::new(Mutex::new(Checker::new(5)));
    let acked = AtomicUsize::new(0);
    let resident = server.resident();
    let refused: Vec<Vec<(Key, String)>> = thread::scope(|scope| {
        let floods: Vec<_> = senders
            .iter_mut()
            .map(|sender| {
                let (seen, acked) = (&seen, &acked);
                scope.spawn(move || {
                    let at = sender.session.0;
                    let bodies = (0..EACH).map(|number| (fresh_key(), format!("{at} {number}")));
                    sender.flood(channel, bodies.collect(), seen, acked)
                })
            })
            .collect();
        while !floods.iter().all(|flood| flood.is_finished()) {
            let asked = Instant::now();
            let answer = other.ask(text(elsewhere.get(), "still here")).0;
            assert!(matches!(answer, Said::Ack(_)), "{answer:?}");
            assert!(asked.elapsed() < SOON, "it took {:?}", asked.elapsed());
            thread::sleep(Duration::from_millis(20));
        }
        floods.into_iter().map(|flood| flood.join().expect("answers")).collect()
    });
    let growth = server.resident().saturating_sub(resident);
    let count: usize = refused.iter().map(Vec::len).sum();
    println!("{} taken, {count} refused, {growth} bytes more", acked.load(Ordering::Relaxed));
    assert!(count > 0, "it was not too much");
    assert!(growth < GROWTH_BYTES_MAX, "{growth} bytes more");
    let counted = server.counted("damso_requests_refused_total", "reason=\"overloaded\"");
    assert_eq!(counted, count as f64);
    // Once they come one after another, all pass at once.
    thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    for (sender, refused) in
        senders.iter_mut().zip(refused).filter(|(_, refused)| !refused.is_empty())
    {
        let again = sender.flood(channel, refused, &seen, &acked);
        assert!(again.is_empty(), "refused after the flood: {again:?}");
    }
    println!("{count} sent again in {:?}", begun.elapsed());
    assert_eq!(acked.load(Ordering::Relaxed), SENDERS * EACH);
    let mut checker =
        Arc::into_inner(seen).expect("the floods are over").into_inner().expect("nobody panics");
    read_back(&mut senders[0].raw, channel, &mut checker);
    let verdict = checker.finish();
    assert!(verdict.passed(), "{verdict}");
    assert_eq!(verdict.counts.channels_unread, 0, "{verdict}");
}
