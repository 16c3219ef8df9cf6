//! Who is muted or kept out, over real connections.

use std::time::{SystemTime, UNIX_EPOCH};

use damso_proto::code::Code;
use damso_proto::wire;
use damso_proto::wire::ChannelKind;
use damso_proto::wire::client_frame::Kind as Ask;
use damso_proto::wire::server_frame::Kind as Said;
use damso_proto::wire::system::{Muted, What};

use super::broadcast::{Person, add, list, make};
use super::raw::text;
use super::server::{Local, UNBOUND};

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("before the year 500,000,000")
}

fn mute(channel: u64, person: &Person, until_ms: u64) -> Ask {
    Ask::MuteMember(wire::MuteMember { channel, user: person.number.get(), until_ms })
}

fn ban(channel: u64, person: &Person, until_ms: u64) -> Ask {
    Ask::BanMember(wire::BanMember { channel, user: person.number.get(), until_ms })
}

fn bans(channel: u64) -> Ask {
    Ask::ListBans(wire::ListBans { channel, ..Default::default() })
}

#[test]
fn who_is_muted_reads_on_and_is_told_for_how_long() {
    let server = Local::start(&UNBOUND);
    let [mut alice, mut bob, mut carol] =
        ["alice", "bob", "carol"].map(|uid| Person::log_in(&server, uid));
    for kind in [ChannelKind::Group, ChannelKind::Broadcast] {
        let channel = make(&mut alice, kind, &["bob", "carol"]);
        let (user, role) = (bob.number.get(), wire::Role::Member.into());
        alice.done(Ask::SetRole(wire::SetRole { channel, user, role }));
        bob.send(channel, "before");
        let hour = now_ms() + 3_600_000;
        alice.done(mute(channel, &bob, hour));
        let Said::Refusal(refusal) = bob.ask(text(channel, "meanwhile")) else { panic!("muted") };
        assert_eq!(Code::from_number(refusal.code), Some(Code::Muted));
        assert!((3_500_000..=3_600_000).contains(&refusal.retry_after_ms), "{refusal:?}");
        assert_eq!(bob.info(channel).muted_until_ms, hour);
        let Said::MemberList(listed) = alice.ask(list(channel)) else { panic!("a list") };
        let muted = listed.members.iter().filter(|member| member.muted_until_ms == hour);
        assert_eq!(muted.count(), 1);
        let spoken = alice.send(channel, "he hears this");
        bob.hears(channel, spoken);
        for by in [&mut bob, &mut carol] {
            assert_eq!(
                by.refused(mute(channel, &Person::log_in(&server, "alice"), hour)),
                Code::NotAllowed
            );
        }
        alice.done(mute(channel, &bob, 0));
        bob.send(channel, "after");
        if kind == ChannelKind::Broadcast {
            let told =
                Muted { by: alice.number.get(), member: bob.number.get(), until_ms: 0, channel };
            assert_eq!(bob.told().last(), Some(&What::Muted(told)));
        }
        // One that is over by itself.
        alice.done(mute(channel, &bob, now_ms().saturating_sub(1)));
        bob.send(channel, "again");
    }
}

#[test]
fn who_is_kept_out_hears_nothing_more_and_comes_back_when_they_may() {
    let server = Local::start(&UNBOUND);
    let [mut alice, mut bob] = ["alice", "bob"].map(|uid| Person::log_in(&server, uid));
    for kind in [ChannelKind::Group, ChannelKind::Broadcast] {
        let channel = make(&mut alice, kind, &["bob"]);
        assert_eq!(bob.refused(bans(channel)), Code::NotAllowed);
        let last = alice.done(ban(channel, &bob, 0));
        alice.send(channel, "without bob");
        assert_eq!(bob.refused(text(channel, "x")), Code::NotFound);
        bob.fence();
        assert!(bob.seqs(channel).iter().all(|seq| *seq <= last));
        let Said::Refusal(refusal) = alice.ask(add(channel, "bob", false)) else {
            panic!("kept out")
        };
        assert_eq!(
            (Code::from_number(refusal.code), &*refusal.field),
            (Some(Code::Banned), "uids")
        );
        let Said::BanList(listed) = alice.ask(bans(channel)) else { panic!("a list") };
        let uids: Vec<_> = listed.bans.iter().map(|ban| (&*ban.uid, ban.until_ms)).collect();
        assert_eq!((uids, listed.end), (vec![("bob", 0)], true));
        alice.done(Ask::LiftBan(wire::LiftBan { channel, user: bob.number.get() }));
        alice.done(add(channel, "bob", false));
        let spoken = alice.send(channel, "welcome back");
        bob.hears(channel, spoken);
    }
}
