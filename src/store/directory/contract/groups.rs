//! People, direct channels and groups; keys, outbox, pages.

use damso_proto::id::{ChannelNo, Seq};

use super::super::kit::Short as _;
use super::super::{Command, Directory as _, DirectoryError, Done, Member, Moved, OutboxId};
use super::world::{HOUR_MS, NOW_MS, command, command_at, every_engine, p, seq, told, uid};
use crate::model::body::BodyHash;
use crate::model::rights::{Denied, Kind, RightsChange, RightsDelta, Role, Sight};
use crate::model::system;

#[test]
fn a_uid_is_one_person_for_ever() {
    every_engine(|world| {
        let directory = &world.directory;
        assert_eq!(directory.find_or_make_user(&uid(3), NOW_MS).unwrap().number, p(3));
        let asked = [p(9), p(77), p(u64::MAX), p(0), p(2)];
        let found = directory.users(&asked).unwrap();
        assert_eq!(found.iter().map(|user| user.number).collect::<Vec<_>>(), [p(9), p(2)]);
        let found = directory.users_by_uid(&[uid(4), uid(77), uid(1)]).unwrap();
        assert_eq!(found.iter().map(|user| user.number).collect::<Vec<_>>(), [p(4), p(1)]);
    });
}

#[test]
fn a_new_group_owes_its_log_and_each_members_own_log_one_event() {
    every_engine(|world| {
        let directory = &world.directory;
        let done = directory.create_group(&command(1, 2), "점심", &[p(3), p(1), p(2)]).unwrap();
        let group = done.channel;
        assert_eq!((group.get() % 2, done.seq, done.is_repeated), (0, seq(1), false));
        let change = RightsChange {
            kind: Kind::Group,
            version: 1,
            people: vec![
                RightsDelta::Added(p(2), Role::Owner, Sight::FromHere),
                RightsDelta::Added(p(1), Role::Member, Sight::FromHere),
                RightsDelta::Added(p(3), Role::Member, Sight::FromHere),
            ],
        };
        let created = system::created(p(2), &[p(2), p(1), p(3)]);
        let mut expected = vec![(group, seq(1), Some(created), Some(change))];
        for n in [2, 1, 3] {
            let own = ChannelNo::self_of(p(n));
            let added = system::channel_added(group, seq(1), seq(1));
            expected.push((own, Seq::ZERO, Some(added), None));
        }
        assert_eq!(done.rows.iter().map(told).collect::<Vec<_>>(), expected);
        assert_eq!(directory.outbox(OutboxId(0), 100).unwrap(), done.rows);
        let channel = directory.channel(group).unwrap().unwrap();
        assert_eq!((channel.kind, &*channel.name, channel.version), (Kind::Group, "점심", 1));
        assert_eq!(channel.pending, done.rows[..1]);
        let from = |user, role| Member { user: p(user), role, from: seq(1), muted_until_ms: 0 };
        assert_eq!(
            channel.members,
            [from(1, Role::Member), from(2, Role::Owner), from(3, Role::Member)]
        );
    });
}

#[test]
fn two_people_have_one_direct_channel_whoever_opens_it() {
    every_engine(|world| {
        let directory = &world.directory;
        let made = directory.open_mine(&command(1, 5), p(4)).unwrap();
        assert_eq!((made.seq, made.rows.len()), (seq(1), 3));
        for (key, user, peer) in [(2, 5, 4), (3, 4, 5)] {
            let found = directory.open_mine(&command(key, user), p(peer)).unwrap();
            assert_eq!((found.channel, found.seq), (made.channel, Seq::ZERO));
            assert!(found.rows.is_empty() && !found.is_repeated);
            let membership = &directory.memberships(p(user), ChannelNo::new(0), 9).unwrap()[0];
            assert_eq!((membership.heading.kind, membership.peer), (Kind::Direct, Some(p(peer))));
        }
        assert_ne!(directory.open_mine(&command(4, 5), p(6)).unwrap().channel, made.channel);
        let alone = directory.open_mine(&command(5, 5), p(5));
        assert!(matches!(alone, Err(DirectoryError::WithOneself)));
        let nobody = directory.open_mine(&command(6, 5), p(77));
        assert!(matches!(nobody, Err(DirectoryError::NoUser(user)) if user == p(77)));
    });
}

#[test]
fn racing_openers_of_a_direct_channel_get_the_same_one() {
    every_engine(|world| {
        let open = |key: u8| {
            let (user, peer) = if key.is_multiple_of(2) { (1, 2) } else { (2, 1) };
            world.directory.open_mine(&command(key, user), p(peer)).unwrap()
        };
        let opened: Vec<Done> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|key| scope.spawn(move || open(key))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(opened.iter().all(|done| done.channel == opened[0].channel));
        assert_eq!(opened.iter().filter(|done| done.seq == seq(1)).count(), 1, "made once");
    });
}

#[test]
fn coming_and_going_is_told_in_the_channel_and_to_the_person() {
    every_engine(|world| {
        let directory = &world.directory;
        let group = world.group(1, 1, &[2]);
        let added = directory.add_member(&command(2, 1), group, p(3), seq(7)).unwrap();
        let change = |version, person| {
            Some(RightsChange { kind: Kind::Group, version, people: vec![person] })
        };
        let (own, joins) =
            (ChannelNo::self_of(p(3)), RightsDelta::Added(p(3), Role::Member, Sight::FromHere));
        assert_eq!(
            added.rows.iter().map(told).collect::<Vec<_>>(),
            [
                (group, seq(7), Some(system::members_added(p(1), &[p(3)])), change(2, joins)),
                (own, Seq::ZERO, Some(system::channel_added(group, seq(7), seq(7))), None),
            ]
        );
        assert_eq!(directory.memberships(p(3), ChannelNo::new(0), 9).unwrap()[0].from, seq(7));
        let removed = directory.remove_member(&command(3, 1), group, p(3), seq(9)).unwrap();
        let goes = RightsDelta::Removed(p(3));
        assert_eq!(
            removed.rows.iter().map(told).collect::<Vec<_>>(),
            [
                (group, seq(9), Some(system::member_removed(p(1), p(3), false)), change(3, goes)),
                (own, Seq::ZERO, Some(system::channel_removed(group, seq(9))), None),
            ]
        );
        assert_eq!((removed.seq, world.channels_of(3)), (seq(9), vec![]));
    });
}

#[test]
fn what_is_already_so_changes_nothing_and_is_remembered_too() {
    every_engine(|world| {
        let directory = &world.directory;
        let group = world.group(1, 1, &[2]);
        let owed = directory.outbox(OutboxId(0), 100).unwrap();
        let again = directory.add_member(&command(2, 1), group, p(2), seq(5)).unwrap();
        let absent = directory.remove_member(&command(3, 1), group, p(4), seq(5)).unwrap();
        for done in [&again, &absent] {
            assert_eq!((done.seq, done.rows.len(), done.is_repeated), (Seq::ZERO, 0, false));
        }
        assert_eq!(directory.channel(group).unwrap().unwrap().version, 1);
        assert_eq!(directory.outbox(OutboxId(0), 100).unwrap(), owed);
        // Person 2 leaves meanwhile; the late copy of the first command must not bring them back.
        directory.remove_member(&command(4, 2), group, p(2), seq(5)).unwrap();
        let late = directory.add_member(&command(2, 1), group, p(2), seq(6)).unwrap();
        assert!(late.is_repeated && late.seq == Seq::ZERO);
        assert_eq!(world.roles(group), [(1, Role::Owner)]);
    });
}

#[test]
fn a_repeated_key_gets_the_first_answer_and_another_body_is_refused() {
    every_engine(|world| {
        let directory = &world.directory;
        let first = directory.create_group(&command(1, 1), "a", &[p(2)]).unwrap();
        let again = directory.create_group(&command(1, 1), "a", &[p(2)]).unwrap();
        assert_eq!((again.channel, again.seq), (first.channel, first.seq));
        assert!(again.is_repeated && again.rows.is_empty());
        assert_eq!(world.channels_of(1), [first.channel]);
        let other = Command { body: BodyHash(7), ..command(1, 1) };
        let reused = directory.create_group(&other, "b", &[]);
        assert!(matches!(reused, Err(DirectoryError::KeyReused)));
        let of_another = directory.create_group(&command(1, 2), "b", &[]).unwrap();
        assert_ne!(of_another.channel, first.channel, "a key is its user's own");
    });
}

#[test]
fn a_refused_command_leaves_no_trace_and_its_key_is_free() {
    every_engine(|world| {
        let directory = &world.directory;
        let refused = directory.create_group(&command(1, 1), "a", &[p(2), p(77)]);
        assert!(matches!(refused, Err(DirectoryError::NoUser(user)) if user == p(77)));
        assert_eq!((world.channels_of(1), world.channels_of(2)), (vec![], vec![]));
        assert_eq!(directory.outbox(OutboxId(0), 9).unwrap(), []);
        assert!(!directory.create_group(&command(1, 1), "a", &[p(2)]).unwrap().is_repeated);
    });
}

#[test]
fn rights_are_checked_where_they_are_true() {
    every_engine(|world| {
        let directory = &world.directory;
        let group = world.group(1, 1, &[2, 3]);
        let direct = directory.open_mine(&command(2, 1), p(2)).unwrap().channel;
        let own = ChannelNo::self_of(p(1));
        let add = |user, to| directory.add_member(&command(9, user), to, p(5), seq(5));
        let remove =
            |by, from, whom| directory.remove_member(&command(9, by), from, p(whom), seq(5));
        let denied = [
            (add(2, group), Denied::Role),
            (add(4, group), Denied::Stranger),
            (add(1, direct), Denied::Kind),
            (remove(2, group, 3), Denied::Role),
            (remove(2, group, 1), Denied::Role),
            (remove(4, group, 4), Denied::Stranger),
            (remove(1, direct, 1), Denied::Kind),
        ];
        for (number, (done, expected)) in denied.into_iter().enumerate() {
            let is = matches!(done, Err(DirectoryError::Denied(why)) if why == expected);
            assert!(is, "case {number}");
        }
        for absent in [own, ChannelNo::new(4_000), ChannelNo::new(u64::MAX - 1)] {
            assert!(matches!(add(1, absent), Err(DirectoryError::NoChannel)), "{absent}");
        }
        assert_eq!(world.roles(group).len(), 3);
    });
}

#[test]
fn when_the_owner_leaves_who_has_been_in_it_longest_takes_over() {
    every_engine(|world| {
        let directory = &world.directory;
        let group = world.group(1, 5, &[]);
        for (key, user, at) in [(2, 4, 2), (3, 1, 3)] {
            directory.add_member(&command(key, 5), group, p(user), seq(at)).unwrap();
        }
        let left = directory.remove_member(&command(4, 5), group, p(5), seq(4)).unwrap();
        let change = left.rows[0].owed.change().unwrap();
        let people = [RightsDelta::Removed(p(5)), RightsDelta::RoleSet(p(4), Role::Owner)];
        assert_eq!(change.people, people);
        assert_eq!(left.rows[0].owed.event(), Some(&system::member_left(p(5))));
        assert_eq!(world.roles(group), [(1, Role::Member), (4, Role::Owner)]);
        for (key, user, at) in [(5, 4, 5), (6, 1, 6)] {
            directory.remove_member(&command(key, user), group, p(user), seq(at)).unwrap();
        }
        assert_eq!(world.roles(group), [], "the last one may leave, too");
    });
}

#[test]
fn limits_hold_for_everyone_concerned() {
    every_engine(|world| {
        let directory = &world.directory;
        let five = world.group(1, 1, &[2, 3, 4, 5]);
        let sixth = directory.add_member(&command(2, 1), five, p(6), seq(2));
        assert!(matches!(sixth, Err(DirectoryError::TooManyMembers { max: 5 })));
        let six: Vec<_> = (2..=6).map(p).collect();
        let six = directory.create_group(&command(3, 1), "six", &six);
        assert!(matches!(six, Err(DirectoryError::TooManyMembers { max: 5 })));
        for key in 4..=6 {
            world.group(key, 1, &[]);
        }
        let mine = directory.create_group(&command(7, 1), "fifth", &[]);
        let theirs = directory.create_group(&command(8, 9), "fifth", &[p(1)]);
        let direct = directory.open_mine(&command(9, 9), p(1));
        for full in [mine, theirs, direct] {
            let is = matches!(full, Err(DirectoryError::TooManyChannels { user, max: 4 }) if user == p(1));
            assert!(is);
        }
        directory.remove_member(&command(10, 1), five, p(1), seq(2)).unwrap();
        world.group(11, 9, &[1]);
    });
}

#[test]
fn owed_events_stay_until_they_are_done_and_keep_their_order() {
    every_engine(|world| {
        let directory = &world.directory;
        let group = world.group(1, 1, &[2]);
        directory.add_member(&command(2, 1), group, p(3), seq(2)).unwrap();
        let all = directory.outbox(OutboxId(0), 100).unwrap();
        assert!(all.is_sorted_by(|a, b| a.id < b.id) && all.len() == 5);
        assert_eq!(directory.outbox(all[1].id, 2).unwrap(), all[2..4]);
        assert_eq!(directory.outbox(OutboxId(u64::MAX), 2).unwrap(), []);
        let of_group: Vec<_> = all.iter().filter(|row| row.channel == group).cloned().collect();
        assert_eq!(directory.outbox_of(group).unwrap(), of_group);
        let own = directory.channel(ChannelNo::self_of(p(3))).unwrap().unwrap();
        assert_eq!((own.kind, own.pending.len()), (Kind::Personal, 1));
        assert!(directory.channel(ChannelNo::self_of(p(77))).unwrap().is_none());
        directory.outbox_done(&[of_group[0].id, OutboxId(12_345)], &[]).unwrap();
        directory.outbox_done(&[of_group[0].id], &[]).unwrap();
        assert_eq!(directory.outbox_of(group).unwrap(), of_group[1..]);
    });
}

#[test]
fn what_was_decided_for_a_seq_that_another_event_took_is_set_right() {
    every_engine(|world| {
        let directory = &world.directory;
        let group = world.group(1, 1, &[2]);
        let third = directory.add_member(&command(2, 1), group, p(3), seq(5)).unwrap();
        let fourth = directory.add_member(&command(3, 1), group, p(4), seq(6)).unwrap();
        let rows: Vec<_> = third.rows.iter().chain(&fourth.rows).map(|row| row.id).collect();
        let to = |from, to| Moved { channel: group, from: seq(from), to: seq(to) };
        directory.outbox_done(&rows, &[to(5, 6), to(6, 9)]).unwrap();
        let members = directory.channel(group).unwrap().unwrap().members;
        let from: Vec<_> = members.iter().map(|member| member.from.get()).collect();
        assert_eq!(from, [1, 1, 6, 9]);
        let again = |key, user, at| {
            directory.add_member(&command(key, 1), group, p(user), seq(at)).unwrap().seq
        };
        assert_eq!((again(2, 3, 20), again(3, 4, 20)), (seq(6), seq(9)));
    });
}

#[test]
fn pages_follow_each_other_without_hole_or_repeat() {
    every_engine(|world| {
        let directory = &world.directory;
        let groups: Vec<_> = (1..=4).map(|key| world.group(key, 1, &[2, 3])).collect();
        let mut listed = Vec::new();
        loop {
            let after = listed.last().copied().unwrap_or_default();
            let page = directory.memberships(p(1), after, 3).unwrap();
            let Some(last) = page.last() else { break };
            assert!(
                last.role == Role::Owner && last.heading.name == "group" && last.peer.is_none()
            );
            listed.extend(page.iter().map(|membership| membership.channel));
        }
        assert_eq!(listed, groups);
        for membership in directory.memberships(p(2), ChannelNo::new(0), 9).unwrap() {
            let alone = directory.membership(p(2), membership.channel).unwrap();
            assert_eq!(alone, Some(membership));
        }
        assert_eq!(directory.membership(p(4), groups[0]).unwrap(), None);
        let page = directory.members(groups[0], p(1), 1).unwrap();
        assert_eq!((page[0].0.user, &page[0].1), (p(2), &uid(2)));
        assert_eq!(directory.members(groups[0], p(u64::MAX), 9).unwrap().len(), 0);
    });
}

#[test]
fn a_key_is_remembered_for_the_window_and_forgotten_after_it() {
    every_engine(|world| {
        let directory = &world.directory;
        let make =
            |now_ms, made: Command| directory.create_group(&Command { now_ms, ..made }, "a", &[]);
        let first = make(NOW_MS, command(1, 1)).unwrap();
        let week_ms = 7 * 24 * HOUR_MS;
        make(NOW_MS + week_ms, command_at(NOW_MS + week_ms, 2, 2)).unwrap();
        let again = make(NOW_MS + week_ms, command(1, 1)).unwrap();
        assert_eq!((again.channel, again.is_repeated), (first.channel, true));
        // Nobody is asked for it any more: an older key is refused before it comes here.
        let late_ms = NOW_MS + week_ms + 2 * HOUR_MS;
        make(late_ms, command_at(late_ms, 3, 3)).unwrap();
        assert!(!make(late_ms, command(1, 1)).unwrap().is_repeated);
    });
}
