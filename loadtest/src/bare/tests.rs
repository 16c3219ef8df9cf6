//! The bare server as its clients see it, in one thread with them.

use std::time::Duration;

use damso_proto::client::{Answer, Ask, ClientConn, Heard};
use damso_proto::time::Moment;
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind;
use rustls::client::UnbufferedClientConnection;

use super::{Certificate, Fault, Server};
use crate::engine::pipe::{Pipe, Scratch};
use crate::engine::poll::{Wait, now_ns};
use crate::engine::socket::connect;
use crate::engine::target::Target;

/// One client, and what it heard.
struct Person {
    pipe: Pipe<UnbufferedClientConnection>,
    talk: Option<ClientConn>,
    uid: String,
    channel: u64,
    /// Texts of events, in the order in which they came.
    texts: Vec<String>,
    /// When events and acks came.
    heard_ns: Vec<u64>,
}

impl Person {
    fn ask(&mut self, scratch: &mut Scratch, kind: Kind) {
        let mut out = Vec::new();
        self.talk.as_mut().unwrap().ask(Ask::reading(kind), Moment::from_micros(0), &mut out);
        self.pipe.send(scratch, &out).unwrap();
    }

    fn hear(&mut self, scratch: &mut Scratch) {
        self.pipe.flush().unwrap();
        let mut plain = Vec::new();
        self.pipe.receive(scratch, &mut plain).unwrap();
        let mut input = plain.as_slice();
        let now = Moment::from_micros(0);
        if self.talk.is_none() && self.pipe.handshaken() {
            let token = self.uid.clone();
            let hello = wire::Hello { min_version: 1, max_version: 1, token, ..Default::default() };
            let mut out = Vec::new();
            self.talk = Some(ClientConn::open(hello, Vec::new(), now, &mut out));
            self.pipe.send(scratch, &out).unwrap();
        }
        let Some(talk) = &mut self.talk else { return };
        while let Some(heard) = talk.next(&mut input, now).unwrap() {
            match heard {
                Heard::Event(event) => {
                    let event = event.decode().unwrap();
                    if let Some(wire::event::Content::Text(text)) = event.content {
                        self.texts.push(text);
                    }
                    self.heard_ns.push(now_ns());
                }
                Heard::Ack { .. } => self.heard_ns.push(now_ns()),
                Heard::Answer { answer: Answer::Channel(info), .. } => self.channel = info.channel,
                _ => {}
            }
        }
    }
}

/// A server and two people in one channel, of whom the first made it.
struct World {
    server: Server,
    people: Vec<Person>,
    scratch: Scratch,
}

impl World {
    fn new(plain: bool, faults: &[&str]) -> Self {
        let any = "127.0.0.1:0".parse().unwrap();
        let (mut server, target) = if plain {
            let server = Server::bind_plain(any).unwrap();
            let target = Target::plain(server.address().unwrap());
            (server, target)
        } else {
            let certificate = Certificate::make().unwrap();
            let server = Server::bind(any, &certificate).unwrap();
            let address = server.address().unwrap();
            let url = format!("damso://{address}?pin={}", certificate.pin);
            (server, Target::parse(&url).unwrap())
        };
        for fault in faults {
            server.inject(fault.parse::<Fault>().unwrap());
        }
        let people = ["ann", "bob"].map(|uid| {
            let socket = connect(target.address, None).unwrap();
            let mut pipe = target.pipe(socket).unwrap();
            pipe.start(&mut Vec::new()).unwrap();
            let (texts, heard_ns) = (Vec::new(), Vec::new());
            Person { pipe, talk: None, uid: uid.into(), channel: 0, texts, heard_ns }
        });
        let mut world = Self { server, people: people.into(), scratch: Scratch::default() };
        world.until(|world| {
            world
                .people
                .iter()
                .all(|person| person.talk.as_ref().is_some_and(|talk| talk.is_open()))
        });
        let create = wire::CreateChannel { uids: vec!["bob".into()], ..Default::default() };
        world.people[0].ask(&mut world.scratch, Kind::CreateChannel(create));
        world.until(|world| world.people[0].channel != 0);
        world
    }

    fn until(&mut self, mut reached: impl FnMut(&Self) -> bool) {
        let patience_ns = now_ns() + 20_000_000_000;
        while !reached(self) {
            assert!(now_ns() < patience_ns, "it never came");
            self.server.turn(Wait::Not).unwrap();
            for person in &mut self.people {
                person.hear(&mut self.scratch);
            }
        }
    }

    /// A turn that no socket need begin, as long as the server owes anything.
    fn owed_turn(&mut self) {
        let wait = if self.server.crowd.owes() { Wait::Forever } else { Wait::Not };
        self.server.turn(wait).unwrap();
    }

    /// Lets everyone who is not the sender hear, too, as far as there is something to hear.
    fn settle(&mut self) {
        let until_ns = now_ns() + 20_000_000;
        self.until(|_| now_ns() > until_ns);
    }

    fn send(&mut self, person: usize, text: &str) {
        let channel = self.people[0].channel;
        let content = Some(wire::send::Content::Text(text.into()));
        let send = wire::Send { channel, content, ..Default::default() };
        self.people[person].ask(&mut self.scratch, Kind::Send(send));
    }
}

#[test]
fn each_wrong_done_to_a_delivery_is_seen_by_its_receiver_alone() {
    let cases = [
        ("lose@2", "1 3 4"),
        ("repeat@2", "1 2 2 3 4"),
        ("swap@2", "1 3 2 4"),
        ("swap@4", "1 2 3"),
        ("damage@4", "1 2 3 5"),
        ("lose@5", "1 2 3 4"),
    ];
    for plain in [false, true] {
        for (fault, arrives) in cases {
            let mut world = World::new(plain, &[fault]);
            for text in ["1", "2", "3", "4"] {
                world.send(0, text);
            }
            world.until(|world| world.people[0].texts.len() == 4);
            world.settle();
            assert_eq!(world.people[0].texts.join(" "), "1 2 3 4", "{fault}");
            assert_eq!(world.people[1].texts.join(" "), arrives, "{fault}, plain: {plain}");
        }
    }
}

#[test]
fn several_faults_are_done_in_one_run() {
    let mut world = World::new(true, &["lose@1", "repeat@3", "delay=1ms"]);
    for text in ["1", "2", "3"] {
        world.send(0, text);
    }
    world.until(|world| world.people[1].texts.len() == 3);
    world.settle();
    assert_eq!(world.people[1].texts.join(" "), "2 3 3");
}

#[test]
fn a_swapped_delivery_comes_after_its_receivers_own_message() {
    let mut world = World::new(true, &["swap@1"]);
    world.send(0, "first");
    world.until(|world| world.people[0].texts.len() == 1);
    world.send(1, "own");
    world.until(|world| world.people[1].texts.len() == 2);
    assert_eq!(world.people[1].texts, ["own", "first"]);
}

#[test]
fn events_and_acks_come_no_earlier_than_the_delay_and_in_order() {
    let mut world = World::new(false, &["delay=30ms"]);
    let asked_ns = now_ns();
    for text in ["1", "2", "3"] {
        world.send(0, text);
    }
    world.until(|world| world.people.iter().all(|person| person.texts.len() == 3));
    for person in &world.people {
        assert_eq!(person.texts, ["1", "2", "3"]);
        assert!(person.heard_ns.iter().all(|heard_ns| *heard_ns >= asked_ns + 30_000_000));
    }
}

#[test]
fn what_is_held_back_wakes_a_server_that_hears_nothing() {
    let mut world = World::new(true, &["delay=20ms"]);
    world.send(0, "1");
    while world.people[1].texts.is_empty() {
        world.owed_turn();
        world.people[1].hear(&mut world.scratch);
    }
}

#[test]
fn too_much_held_back_stops_the_reading_and_loses_nothing() {
    // With the shorter delay all is said before the turn's end, when nothing is due any more.
    for delay in [Duration::from_micros(1), Duration::from_millis(1)] {
        let mut world = World::new(true, &[]);
        world.server.crowd.set_delay(delay, 10_000);
        let sent: Vec<String> = (0..300).map(|number| format!("{number:0>100}")).collect();
        for text in &sent {
            world.send(0, text);
        }
        let mut most = 0;
        while world.people.iter().any(|person| person.texts.len() < sent.len()) {
            world.owed_turn();
            most = world.server.crowd.held_bytes().max(most);
            for person in &mut world.people {
                person.hear(&mut world.scratch);
            }
        }
        for person in &world.people {
            assert_eq!(person.texts, sent);
        }
        // The sender's own events are answers and come on top, a batch at a time.
        assert!(most < 30_000, "{most}");
    }
}

#[test]
fn a_stall_holds_everything_up_for_its_length() {
    let mut world = World::new(true, &["stall=200ms@50ms"]);
    world.send(0, "before");
    world.until(|world| world.people[0].texts.len() == 1);
    std::thread::sleep(Duration::from_millis(60));
    let asked_ns = now_ns();
    world.send(0, "during");
    world.until(|world| world.people[1].texts.len() == 2);
    assert!(world.people[1].heard_ns[1] >= asked_ns + 200_000_000);
}

#[test]
fn who_leaves_is_told_nothing_more_and_others_are() {
    let mut world = World::new(true, &["swap@1", "delay=5ms"]);
    world.send(0, "1");
    world.people.pop();
    world.send(0, "2");
    world.until(|world| world.people[0].texts.len() == 2);
    world.send(0, "3");
    world.until(|world| world.people[0].texts.len() == 3);
}
