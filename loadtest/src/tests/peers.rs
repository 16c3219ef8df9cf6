//! The drivers against the servers that they are made for, over real TLS.

use std::collections::BTreeMap;

use damso_loadtest::driver::mqtt::{Mqtt, Qos};
use damso_loadtest::driver::{Driver, How, Setting, Told};
use damso_loadtest::engine::payload::{Payload, Read, Tag};
use damso_loadtest::engine::pipe::{Pipe, Received, Scratch};
use damso_loadtest::engine::poll::{Poll, Wait, now_ns};
use damso_loadtest::engine::socket::connect;
use damso_loadtest::peers::{Mosquitto, PeerError};
use damso_loadtest::scenario::Kind;
use damso_loadtest::scenario::layout::{Class, Layout};
use rustls::CipherSuite;
use rustls::client::UnbufferedClientConnection;

const RUN: u64 = 0xfeed;
const PEOPLE: u32 = 3;
const MESSAGES: u32 = 20;
/// How long everything together may take.
const PATIENCE_NS: u64 = 20_000_000_000;

/// A few connections, and the smallest loop that serves them.
struct Crew<D: Driver> {
    driver: D,
    poll: Poll,
    scratch: Scratch,
    pipes: Vec<Pipe<UnbufferedClientConnection>>,
    talks: Vec<Option<D::Talk>>,
    told: Vec<(u32, Told)>,
    until_ns: u64,
}

impl<D: Driver> Crew<D> {
    fn connect(driver: D) -> Self {
        let mut crew = Self {
            driver,
            poll: Poll::new().expect("descriptors are left"),
            scratch: Scratch::default(),
            pipes: Vec::new(),
            talks: Vec::new(),
            told: Vec::new(),
            until_ns: now_ns() + PATIENCE_NS,
        };
        for conn in 0..PEOPLE {
            let target = crew.driver.target();
            let socket = connect(target.address, None).expect("the peer listens");
            crew.poll.watch(&socket, u64::from(conn)).expect("a socket can be watched");
            let mut pipe = target.pipe(socket).expect("rustls takes the configuration");
            pipe.start(&mut Vec::new()).expect("the handshake begins");
            crew.pipes.push(pipe);
            crew.talks.push(None);
        }
        crew
    }

    /// Serves until so many things of a kind were told.
    fn serve_until(&mut self, count: usize, is: impl Fn(&Told) -> bool) {
        let mut ready = Vec::new();
        while self.told.iter().filter(|(_, told)| is(told)).count() < count {
            let last = self.told.last();
            let heard = self.told.len();
            assert!(now_ns() < self.until_ns, "{count} were to come; heard {heard}, then {last:?}");
            self.poll.wait(Wait::Until(self.until_ns), &mut ready).expect("the poll waits");
            for conn in &ready {
                self.serve(*conn as u32);
            }
        }
    }

    fn serve(&mut self, conn: u32) {
        let (pipe, talk) = (&mut self.pipes[conn as usize], &mut self.talks[conn as usize]);
        let (mut plain, mut out, mut told) = (Vec::new(), Vec::new(), Vec::new());
        pipe.flush().expect("the connection stands");
        let received = pipe.receive(&mut self.scratch, &mut plain).expect("the connection stands");
        assert_eq!(received, Received::Blocked, "the peer closed");
        if !pipe.handshaken() {
            return;
        }
        let now = now_ns();
        let talk = talk.get_or_insert_with(|| self.driver.log_in(conn, now, &mut out));
        self.driver.hear(conn, talk, &plain, now, &mut out, &mut told).expect("the peer is sane");
        self.told.extend(told.into_iter().map(|told| (conn, told)));
        pipe.send(&mut self.scratch, &out).expect("the connection stands");
    }

    fn write(&mut self, conn: u32, bytes: &[u8]) {
        let pipe = &mut self.pipes[conn as usize];
        pipe.send(&mut self.scratch, bytes).expect("the connection stands");
    }

    fn settle(&mut self) {
        let mut steps = 0;
        while let Some(conn) = self.driver.next_step() {
            let mut out = Vec::new();
            let talk = self.talks[conn as usize].as_mut().expect("it is logged in");
            self.driver.take_step(conn, talk, now_ns(), &mut out);
            self.write(conn, &out);
            steps += 1;
        }
        self.serve_until(steps, |told| matches!(told, Told::Settled));
        assert!(self.driver.settled());
    }

    fn send(&mut self, conn: u32, payload: &Payload, bytes: usize) {
        let mut out = Vec::new();
        let talk = self.talks[conn as usize].as_mut().expect("it is logged in");
        self.driver.send(conn, talk, 0, payload, bytes, now_ns(), &mut out);
        self.write(conn, &out);
    }
}

fn payload(number: u32) -> Payload {
    Payload { run: RUN, intended_ns: now_ns(), tag: Tag { phase: 0, stream: 0, number } }
}

/// Runs with a broker; says so, and does nothing, where there is none.
fn with_mosquitto(run: impl FnOnce(&Mosquitto)) {
    match Mosquitto::start() {
        Ok(mosquitto) => run(&mosquitto),
        Err(missing @ PeerError::Missing { .. }) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: {missing}");
        }
        Err(error) => panic!("{error}"),
    }
}

/// Everyone logged in, and subscribed to the one channel.
fn settled(mosquitto: &Mosquitto, qos: Qos) -> Crew<Mqtt> {
    let class = Class { count: 1, members: PEOPLE, kind: Kind::Group };
    let setting =
        Setting { run: RUN, worker: 0, layout: Layout::new(PEOPLE, &[class]), check: false };
    let target = mosquitto.target().expect("the CA is one");
    let mut crew = Crew::connect(Mqtt::new(setting, target, qos));
    crew.serve_until(PEOPLE as usize, |told| matches!(told, Told::Live));
    crew.settle();
    crew
}

/// Everyone sends in turn, and everyone has each message once.
fn everyone_has_everything(mosquitto: &Mosquitto, qos: Qos) {
    let mut crew = settled(mosquitto, qos);
    for pipe in &crew.pipes {
        // As the product's: its first choice is the cheapest.
        let suite =
            pipe.tls().and_then(|tls| tls.negotiated_cipher_suite()).map(|suite| suite.suite());
        assert_eq!(suite, Some(CipherSuite::TLS13_AES_128_GCM_SHA256));
    }
    for number in 0..MESSAGES {
        crew.send(number % PEOPLE, &payload(number), 200);
    }
    let all = (MESSAGES * PEOPLE) as usize;
    crew.serve_until(all, |told| matches!(told, Told::Message { .. }));
    let acks = if qos == Qos::AtLeastOnce { MESSAGES as usize } else { 0 };
    crew.serve_until(acks, |told| matches!(told, Told::Acked(_)));
    // One more comes behind everything else, so what was to come twice has come.
    crew.send(0, &payload(MESSAGES), 200);
    crew.serve_until(all + PEOPLE as usize, |told| matches!(told, Told::Message { .. }));

    let mut times = BTreeMap::new();
    let mut acked = Vec::new();
    for (conn, told) in &crew.told {
        match told {
            Told::Message { channel: 0, seq: None, body: Read::Whole(body), how: How::Live } => {
                assert_eq!(body.run, RUN);
                *times.entry((*conn, body.tag.number)).or_insert(0) += 1;
            }
            Told::Acked(tag) => acked.push(tag.number),
            Told::Live | Told::Settled => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(times.len(), all + PEOPLE as usize);
    assert!(times.values().all(|times| *times == 1), "{qos:?}: {times:?}");
    acked.retain(|number| *number < MESSAGES);
    acked.sort_unstable();
    assert!(acked.iter().copied().eq(0..acks as u32), "{qos:?}: {acked:?}");
}

#[test]
fn mosquitto_gives_every_message_to_every_member_once_at_both_qualities() {
    with_mosquitto(|mosquitto| {
        assert!(mosquitto.version().starts_with("mosquitto version"), "{}", mosquitto.version());
        everyone_has_everything(mosquitto, Qos::AtMostOnce);
        everyone_has_everything(mosquitto, Qos::AtLeastOnce);
    });
}

/// Two members read nothing until far more waits for them than sockets hold, and than mosquitto
/// would keep by default.
fn nobody_loses_by_reading_late(mosquitto: &Mosquitto, qos: Qos) {
    let mut crew = settled(mosquitto, qos);
    let (messages, bytes) = (2_500, 16 * 1024);
    let mut ready = Vec::new();
    for number in 0..messages {
        crew.send(0, &payload(number), bytes);
        while crew.pipes[0].unsent_bytes() > 1 << 20 {
            crew.poll.wait(Wait::Until(crew.until_ns), &mut ready).expect("the poll waits");
            crew.serve(0);
        }
        crew.serve(0);
    }
    let acks = if qos == Qos::AtLeastOnce { messages as usize } else { 0 };
    while crew.told.iter().filter(|(_, told)| matches!(told, Told::Acked(_))).count() < acks {
        assert!(now_ns() < crew.until_ns, "mosquitto acknowledges whoever reads");
        crew.poll.wait(Wait::Until(crew.until_ns), &mut ready).expect("the poll waits");
        crew.serve(0);
    }
    // Their edges were not heeded.
    (1..PEOPLE).for_each(|conn| crew.serve(conn));
    let all = (messages * PEOPLE) as usize;
    crew.serve_until(all, |told| matches!(told, Told::Message { body: Read::Whole(_), .. }));
}

#[test]
fn mosquitto_as_it_is_set_up_drops_nothing_for_one_who_reads_late() {
    with_mosquitto(|mosquitto| {
        nobody_loses_by_reading_late(mosquitto, Qos::AtMostOnce);
        nobody_loses_by_reading_late(mosquitto, Qos::AtLeastOnce);
    });
}

#[test]
fn a_dropped_mosquitto_is_gone() {
    with_mosquitto(|_| {
        let mosquitto = Mosquitto::start().unwrap();
        let (address, process) = (mosquitto.address(), format!("/proc/{}", mosquitto.pid()));
        assert!(std::path::Path::new(&process).exists());
        drop(mosquitto);
        assert!(!std::path::Path::new(&process).exists());
        assert!(std::net::TcpStream::connect(address).is_err());
    });
}

#[test]
fn the_broker_is_compared_with_the_product_in_one_run() {
    with_mosquitto(|_| {
        let peers = ["compare", "groups", "--peer", "mosquitto", "--peer", "mosquitto-qos1"];
        let small = ["--connections", "30", "--channels", "3", "--rate", "60", "--seconds", "1"];
        let brief = ["--repeat", "1", "--warmup", "1"];
        let output = super::loadtest(&[&peers[..], &small, &brief, &super::PATIENT].concat());
        let text = super::text(&output);
        assert_eq!(output.status.code(), Some(0), "{text}");
        for part in ["mosquitto QoS 0", "mosquitto QoS 1", "x mosquitto QoS 0", "n/a"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    });
}
