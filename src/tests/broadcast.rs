//! Broadcasts and roles, over real connections: who may what, who hears what, who sees which past.

use damso_proto::code::Code;
use damso_proto::id::{ChannelNo, Key, UserNo};
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::event::Content;
use damso_proto::wire::server_frame::Kind as Said;
use damso_proto::wire::system::{ChannelAdded, ChannelRemoved, RoleSet, What};
use damso_proto::wire::{self, ChannelKind, Role};

use super::raw::{Raw, text};
use super::server::{Local, UNBOUND};

/// People to fill a broadcast with.
const READERS: usize = 350;

pub(crate) struct Person {
    raw: Raw,
    pub(crate) number: UserNo,
    /// Every event that has come.
    heard: Vec<wire::Event>,
}

impl Person {
    pub(crate) fn log_in(server: &Local, uid: &str) -> Self {
        Self::resume(server, uid, uid, Default::default())
    }

    /// The same with a device that has something already.
    pub(crate) fn resume(server: &Local, uid: &str, device: &str, resume: wire::Resume) -> Self {
        let (raw, said) = Raw::log_in(&server.string(uid), device, resume);
        let Some(Said::Welcome(welcome)) = said.first() else { panic!("Welcome comes first") };
        let number = UserNo::new(welcome.user);
        let heard = said.into_iter().filter_map(|said| match said {
            Said::Event(event) => Some(event),
            _ => None,
        });
        Self { raw, number, heard: heard.collect() }
    }

    pub(crate) fn ask(&mut self, ask: Ask) -> Said {
        let (said, events) = self.raw.ask(ask);
        self.heard.extend(events);
        said
    }

    pub(crate) fn ask_with(&mut self, ask: Ask, key: Key) -> Said {
        let (said, events) = self.raw.ask_with(ask, key);
        self.heard.extend(events);
        said
    }

    /// Asks for what must be answered with Done; its seq.
    pub(crate) fn done(&mut self, ask: Ask) -> u64 {
        match self.ask(ask) {
            Said::Done(done) => done.seq,
            other => panic!("expected Done, heard {other:?}"),
        }
    }

    pub(crate) fn send(&mut self, channel: u64, words: &str) -> u64 {
        match self.ask(text(channel, words)) {
            Said::Ack(ack) => ack.seq,
            other => panic!("expected Ack, heard {other:?}"),
        }
    }

    pub(crate) fn refused(&mut self, ask: Ask) -> Code {
        match self.ask(ask) {
            Said::Refusal(refusal) => Code::from_number(refusal.code).expect("a known code"),
            other => panic!("expected a refusal, heard {other:?}"),
        }
    }

    /// Waits for this event; the seqs of its channel up to it.
    pub(crate) fn hears(&mut self, channel: u64, seq: u64) -> Vec<u64> {
        while !self.heard.iter().any(|event| (event.channel, event.seq) == (channel, seq)) {
            self.heard.push(self.raw.event());
        }
        self.seqs(channel)
    }

    pub(crate) fn seqs(&self, channel: u64) -> Vec<u64> {
        let of_it = self.heard.iter().filter(|event| event.channel == channel);
        of_it.map(|event| event.seq).collect()
    }

    /// Everything that was on its way has come.
    pub(crate) fn fence(&mut self) {
        for frame in self.raw.fence().expect("they are connected") {
            if let Some(Said::Event(event)) = frame.kind {
                self.heard.push(event);
            }
        }
    }

    /// What their own log has told.
    pub(crate) fn told(&mut self) -> Vec<What> {
        self.told_in(ChannelNo::self_of(self.number).get())
    }

    /// What the system has told in a channel.
    pub(crate) fn told_in(&mut self, channel: u64) -> Vec<What> {
        self.fence();
        let of_it = self.heard.iter().filter(|event| event.channel == channel);
        let whats = of_it.filter_map(|event| match &event.content {
            Some(Content::System(wire::System { what })) => what.clone(),
            _ => None,
        });
        whats.collect()
    }

    pub(crate) fn info(&mut self, channel: u64) -> wire::ChannelInfo {
        let list = wire::ListChannels { after: channel - 1, limit: 1 };
        let Said::ChannelList(mut list) = self.ask(Ask::ListChannels(list)) else {
            panic!("a list")
        };
        list.channels.pop().expect("one of theirs")
    }
}

fn broadcast(owner: &mut Person, uids: &[&str]) -> u64 {
    make(owner, ChannelKind::Broadcast, uids)
}

/// A channel of these people.
pub(crate) fn make(owner: &mut Person, kind: ChannelKind, uids: &[&str]) -> u64 {
    let uids = uids.iter().map(|uid| (*uid).to_owned()).collect();
    let (name, kind) = ("news".to_owned(), kind.into());
    match owner.ask(Ask::CreateChannel(wire::CreateChannel { name, uids, kind })) {
        Said::Channel(info) => info.channel,
        other => panic!("expected a channel, heard {other:?}"),
    }
}

pub(crate) fn add(channel: u64, uid: &str, history: bool) -> Ask {
    let uids = vec![uid.to_owned()];
    Ask::AddMembers(wire::AddMembers { channel, uids, history, ..Default::default() })
}

fn give(channel: u64, user: UserNo, role: Role) -> Ask {
    Ask::SetRole(wire::SetRole { channel, user: user.get(), role: role.into() })
}

fn remove(channel: u64, user: UserNo) -> Ask {
    Ask::RemoveMember(wire::RemoveMember { channel, user: user.get() })
}

fn page(channel: u64) -> Ask {
    Ask::ReadHistory(wire::ReadHistory { channel, ..Default::default() })
}

pub(crate) fn list(channel: u64) -> Ask {
    Ask::ListMembers(wire::ListMembers { channel, ..Default::default() })
}

#[test]
fn readers_read_and_only_those_who_may_write_do() {
    let server = Local::start(&UNBOUND);
    let mut alice = Person::log_in(&server, "alice");
    let [mut bob, mut carol, mut stranger] =
        ["bob", "carol", "stranger"].map(|uid| Person::log_in(&server, uid));
    let news = broadcast(&mut alice, &["bob"]);
    assert_eq!(alice.done(add(news, "carol", false)), 1, "nothing was appended");
    let seq = alice.send(news, "hello");
    for reader in [&mut bob, &mut carol] {
        reader.hears(news, seq);
        assert_eq!(reader.refused(text(news, "me, too")), Code::NotAllowed);
        assert_eq!(reader.refused(list(news)), Code::NotAllowed, "who else reads is not theirs");
        assert_eq!(reader.refused(add(news, "stranger", false)), Code::NotAllowed);
    }
    for ask in [text(news, "x"), list(news), page(news), give(news, bob.number, Role::Reader)] {
        assert_eq!(stranger.refused(ask), Code::NotFound);
    }
    let info = bob.info(news);
    assert_eq!((info.kind(), info.role(), info.members), (ChannelKind::Broadcast, Role::Reader, 3));
    // A reader is made a moderator, who lists, adds, removes, writes; and is told so alone.
    assert_eq!(alice.done(give(news, bob.number, Role::Moderator)), seq);
    let role_set = RoleSet {
        by: alice.number.get(),
        member: bob.number.get(),
        role: Role::Moderator.into(),
        channel: news,
    };
    assert_eq!(bob.told().last(), Some(&What::RoleSet(role_set)));
    assert_eq!(bob.send(news, "from the desk"), seq + 1);
    let Said::MemberList(listed) = bob.ask(list(news)) else { panic!("a list") };
    let roles: Vec<_> = listed.members.iter().map(wire::Member::role).collect();
    assert_eq!(roles, [Role::Owner, Role::Moderator, Role::Reader]);
    bob.done(add(news, "stranger", false));
    assert_eq!(bob.done(remove(news, carol.number)), seq + 1);
    let removed = ChannelRemoved { channel: news, to: seq + 1 };
    assert_eq!(carol.told().last(), Some(&What::ChannelRemoved(removed)));
    for beyond in [remove(news, alice.number), give(news, bob.number, Role::Owner)] {
        assert_eq!(bob.refused(beyond), Code::NotAllowed);
    }
    let last = bob.send(news, "without carol");
    carol.fence();
    assert_eq!(carol.seqs(news), [seq, seq + 1]);
    assert_eq!(stranger.hears(news, last), [last]);
    // The owner goes: of the two who are left, the moderator leads.
    alice.done(Ask::LeaveChannel(wire::LeaveChannel { channel: news }));
    let info = bob.info(news);
    assert_eq!((info.role(), info.members), (Role::Owner, 2));
    assert_eq!(carol.refused(text(news, "x")), Code::NotFound);
}

#[test]
fn the_past_is_shown_to_those_who_are_added_with_it() {
    let server = Local::start(&UNBOUND);
    let mut alice = Person::log_in(&server, "alice");
    let [mut bob, mut carol] = ["bob", "carol"].map(|uid| Person::log_in(&server, uid));
    let news = broadcast(&mut alice, &[]);
    let head = (0..5).map(|n| alice.send(news, &n.to_string())).last().expect("five");
    alice.done(add(news, "bob", true));
    alice.done(add(news, "carol", false));
    let added = |from| What::ChannelAdded(ChannelAdded { channel: news, from, head });
    assert_eq!(bob.told().last(), Some(&added(1)));
    assert_eq!(carol.told().last(), Some(&added(head + 1)));
    let Said::Page(all) = bob.ask(page(news)) else { panic!("a page") };
    assert_eq!((all.rows.len() as u64, all.floor), (head, 1));
    let Said::Page(none) = carol.ask(page(news)) else { panic!("a page") };
    assert_eq!((none.rows.len(), none.floor), (0, head + 1));
    let next = alice.send(news, "for both");
    for reader in [&mut bob, &mut carol] {
        assert_eq!(reader.hears(news, next), [next]);
    }
    // The same from where they come back.
    drop(bob);
    let (mut bob, heard) = Raw::log_in(&server.string("bob"), "another", Default::default());
    let new = heard.iter().find_map(|said| match said {
        Said::Standing(standing) if standing.channel == news => standing.info.clone(),
        _ => None,
    });
    assert_eq!(new.expect("a channel of his").from, 1);
    let answer = Ask::Send(wire::Send {
        channel: news,
        reply_to: 1,
        content: Some(wire::send::Content::Text("I was not here".into())),
        ..Default::default()
    });
    assert_eq!(bob.refusal(answer).code, Code::NotAllowed.number());
}

#[test]
fn many_are_added_a_hundred_at_a_time_and_nobody_hears_of_the_others() {
    let server = Local::start(&UNBOUND);
    let mut alice = Person::log_in(&server, "alice");
    let news = broadcast(&mut alice, &[]);
    let uids: Vec<String> = (0..READERS).map(|n| format!("reader-{n}")).collect();
    let mut first = Person::log_in(&server, &uids[0]);
    let mut last = Person::log_in(&server, &uids[READERS - 1]);
    // Who is added must be somebody.
    for uid in &uids[1..READERS - 1] {
        drop(Raw::log_in(&server.string(uid), "d", Default::default()));
    }
    for hundred in uids.chunks(100) {
        let add = wire::AddMembers { channel: news, uids: hundred.to_vec(), ..Default::default() };
        assert_eq!(alice.done(Ask::AddMembers(add)), 1);
    }
    assert_eq!(alice.info(news).members, 1 + READERS as u64);
    let seq = alice.send(news, "to all");
    for reader in [&mut first, &mut last] {
        assert_eq!(reader.hears(news, seq), [2], "the first that anybody hears");
        let added = ChannelAdded { channel: news, from: 2, head: 1 };
        assert_eq!(reader.told(), [What::ChannelAdded(added)]);
    }
    let nobody =
        wire::AddMembers { channel: news, uids: vec!["nobody".into()], ..Default::default() };
    assert_eq!(alice.refused(Ask::AddMembers(nobody)), Code::NotFound);
}
