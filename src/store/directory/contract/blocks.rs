//! The laws of who blocks whom.

use damso_proto::id::{ChannelNo, Seq, UserNo};

use super::super::kit::{Short as _, joining};
use super::super::{Command, Directory as _, DirectoryError, Done};
use super::world::{World, command, every_engine, p, seq, told, uid};
use crate::model::limits::BLOCKS_PER_USER_MAX;
use crate::model::rights::{Actor, Denied, Kind, RightsChange, RightsDelta};
use crate::model::system;

type Answer = Result<Done, DirectoryError>;

/// `user` blocks `peer`, with whom they have no direct channel.
fn block(world: &World, key: u8, user: u64, peer: u64) -> Answer {
    world.directory.set_block(&command(key, user), p(peer), true, None)
}

fn unblock(world: &World, key: u8, user: u64, peer: u64) -> Answer {
    world.directory.set_block(&command(key, user), p(peer), false, None)
}

/// The same by the owner of their direct channel, whose next event is the ninth.
fn set(world: &World, key: u8, (user, peer): (u64, u64), to: bool, channel: ChannelNo) -> Answer {
    world.directory.set_block(&command(key, user), p(peer), to, Some((channel, seq(9))))
}

fn is_blocked(answer: &Answer) -> bool {
    matches!(answer, Err(DirectoryError::Denied(Denied::Blocked)))
}

fn blockers(world: &World, channel: ChannelNo) -> Vec<UserNo> {
    world.directory.channel(channel).unwrap().unwrap().blockers
}

#[test]
fn while_either_blocks_the_other_no_person_makes_their_direct_channel() {
    every_engine(|world| {
        let directory = &world.directory;
        let done = block(world, 1, 2, 1).unwrap();
        let own = ChannelNo::self_of(p(2));
        assert_eq!((done.channel, done.seq), (own, Seq::ZERO));
        let rows: Vec<_> = done.rows.iter().map(told).collect();
        assert_eq!(rows, [(own, Seq::ZERO, Some(system::block_set(p(1), true)), None)]);
        assert!(is_blocked(&directory.open_mine(&command(2, 1), p(2))));
        assert!(is_blocked(&directory.open_mine(&command(3, 2), p(1))));
        directory.open_mine(&command(4, 1), p(3)).unwrap();

        assert!(block(world, 5, 2, 1).unwrap().rows.is_empty(), "nothing to change");
        block(world, 6, 1, 2).unwrap();
        assert_eq!(unblock(world, 7, 2, 1).unwrap().rows.len(), 1);
        assert!(is_blocked(&directory.open_mine(&command(8, 2), p(1))), "the other still does");
        unblock(world, 9, 1, 2).unwrap();
        assert!(unblock(world, 10, 1, 2).unwrap().rows.is_empty());
        directory.open_mine(&command(11, 2), p(1)).unwrap();
    });
}

#[test]
fn a_block_in_a_direct_channel_is_its_owners_to_order_and_no_event_tells_it() {
    every_engine(|world| {
        let directory = &world.directory;
        let channel = directory.open_mine(&command(1, 1), p(2)).unwrap().channel;
        let elsewhere = block(world, 2, 1, 2);
        assert!(matches!(elsewhere, Err(DirectoryError::HaveDirect(found)) if found == channel));
        let before = directory.heading(channel).unwrap();
        let done = set(world, 3, (1, 2), true, channel).unwrap();
        assert_eq!((done.channel, done.seq), (channel, seq(8)), "the last one before it");
        let people = vec![RightsDelta::Blocks(p(1), true)];
        let change = RightsChange { kind: Kind::Direct, version: 1, people };
        let own = ChannelNo::self_of(p(1));
        assert_eq!(
            done.rows.iter().map(told).collect::<Vec<_>>(),
            [
                (channel, seq(9), None, Some(change)),
                (own, Seq::ZERO, Some(system::block_set(p(2), true)), None)
            ]
        );
        assert_eq!(directory.heading(channel).unwrap(), before, "nothing shows it to the other");
        assert_eq!(blockers(world, channel), [p(1)]);
        // Who takes the row up after a crash has read that.
        let owed = directory.channel(channel).unwrap().unwrap().pending.pop().unwrap();
        assert_eq!((owed.id, owed.at), (done.rows[0].id, seq(9)));
        assert!(owed.owed.is_silent() && owed.owed.change().unwrap().people.is_empty());
        assert!(set(world, 4, (1, 2), true, channel).unwrap().rows.is_empty());
        set(world, 5, (2, 1), true, channel).unwrap();
        assert_eq!(blockers(world, channel), [p(1), p(2)]);
        set(world, 6, (1, 2), false, channel).unwrap();
        assert_eq!(blockers(world, channel), [p(2)]);
        let found = directory.open_mine(&command(7, 1), p(2)).unwrap();
        assert_eq!(found.channel, channel, "which is there to be read");
    });
}

#[test]
fn what_is_no_block_is_refused_and_changes_nothing() {
    every_engine(|world| {
        let directory = &world.directory;
        let channel = directory.open_mine(&command(1, 1), p(2)).unwrap().channel;
        let other = directory.open_mine(&command(2, 1), p(3)).unwrap().channel;
        let group = world.group(3, 1, &[2]);
        for (key, place) in [(4, other), (5, group), (6, ChannelNo::self_of(p(1)))] {
            let refused = set(world, key, (1, 2), true, place);
            assert!(matches!(refused, Err(DirectoryError::NoChannel)), "{place}");
        }
        let none = set(world, 7, (4, 5), true, channel);
        assert!(matches!(none, Err(DirectoryError::NoChannel)), "the two have none");
        assert!(matches!(block(world, 8, 1, 1), Err(DirectoryError::WithOneself)));
        assert!(
            matches!(block(world, 9, 1, 77), Err(DirectoryError::NoUser(user)) if user == p(77))
        );
        assert!(unblock(world, 10, 1, 77).unwrap().rows.is_empty());
        let service = Command { by: Actor::Service, ..command(11, 1) };
        let refused = directory.set_block(&service, p(4), true, None);
        assert!(matches!(refused, Err(DirectoryError::Denied(Denied::Role))));
        for user in 1..=9 {
            assert_eq!(directory.blocked_by(p(user), (p(0), 9)).unwrap(), []);
        }
    });
}

#[test]
fn whoever_is_blocked_adds_the_other_to_nothing_and_nobody_with_them() {
    every_engine(|world| {
        let directory = &world.directory;
        block(world, 1, 3, 1).unwrap();
        let by_3 = |answer: &Answer| matches!(answer, Err(DirectoryError::BlockedBy(user)) if *user == p(3));
        assert!(by_3(&directory.create_group(&command(2, 1), "g", &[p(2), p(3)])));
        assert!(by_3(&directory.create_broadcast(&command(3, 1), &[p(3)])));
        assert_eq!(world.channels_of(1), []);
        let group = world.group(4, 1, &[2]);
        let four_and_three = joining(&[p(4), p(3)], None);
        assert!(by_3(&directory.add_members(&command(5, 1), group, &four_and_three, seq(2))));
        assert_eq!(world.roles(group).len(), 2);
        // Anybody else may, and then it is nothing new.
        let service = Command { by: Actor::Service, ..command(6, 1) };
        directory.add_members(&service, group, &joining(&[p(3)], None), seq(2)).unwrap();
        directory.add_members(&command(7, 1), group, &four_and_three, seq(3)).unwrap();
        assert_eq!(world.roles(group).len(), 4);
        // Whoever blocks may add whom they block.
        world.group(8, 3, &[1]);
    });
}

#[test]
fn a_service_makes_the_direct_channel_of_two_people_and_it_is_born_blocked() {
    every_engine(|world| {
        block(world, 1, 2, 1).unwrap();
        let service = Command { by: Actor::Service, ..command(2, 1) };
        let made = world.directory.open_direct(&service, p(1), p(2)).unwrap();
        assert_eq!(blockers(world, made.channel), [p(2)]);
        assert_eq!(
            blockers(world, world.group(3, 2, &[1])),
            [],
            "where two share a group, nothing"
        );
    });
}

#[test]
fn a_repeated_command_is_answered_as_at_first_whatever_has_become_of_it() {
    every_engine(|world| {
        let directory = &world.directory;
        let first = block(world, 1, 1, 2).unwrap();
        unblock(world, 2, 1, 2).unwrap();
        let channel = directory.open_mine(&command(3, 1), p(2)).unwrap().channel;
        for again in [block(world, 1, 1, 2), set(world, 1, (1, 2), true, channel)] {
            let again = again.unwrap();
            assert_eq!((again.channel, again.seq), (first.channel, first.seq));
            assert!(again.is_repeated && again.rows.is_empty());
        }
        assert_eq!(blockers(world, channel), []);
        set(world, 4, (1, 2), true, channel).unwrap();
        let again = block(world, 4, 1, 2).unwrap();
        assert_eq!((again.channel, again.seq, again.is_repeated), (channel, seq(8), true));
    });
}

#[test]
fn of_a_block_and_a_new_direct_channel_one_comes_first() {
    every_engine(|world| {
        for round in 0..8 {
            let (user, peer) = (1 + round / 4, 4 + round % 4);
            let (blocked, opened) = std::thread::scope(|scope| {
                let key = u8::try_from(round).unwrap();
                let opened = scope
                    .spawn(move || world.directory.open_mine(&command(2 * key, peer), p(user)));
                let blocked = block(world, 2 * key + 1, user, peer);
                (blocked, opened.join().unwrap())
            });
            match (blocked, opened) {
                (Err(DirectoryError::HaveDirect(channel)), Ok(done)) => {
                    assert_eq!(channel, done.channel);
                }
                (Ok(_), opened) => assert!(is_blocked(&opened), "round {round}: {opened:?}"),
                (blocked, opened) => panic!("round {round}: {blocked:?}, {opened:?}"),
            }
        }
    });
}

#[test]
fn pages_of_those_who_are_blocked_add_up_and_so_many_are_the_most() {
    every_engine(|world| {
        let directory = &world.directory;
        for (key, peer) in [(1, 7), (2, 3), (3, 5)] {
            block(world, key, 1, peer).unwrap();
        }
        let page = |after, max| directory.blocked_by(p(1), (p(after), max)).unwrap();
        let of = |numbers: &[u64]| numbers.iter().map(|n| (p(*n), uid(*n))).collect::<Vec<_>>();
        assert_eq!((page(0, 2), page(5, 2)), (of(&[3, 5]), of(&[7])));
        assert_eq!((page(0, 9), page(7, 9)), (of(&[3, 5, 7]), vec![]));
        assert_eq!(page(u64::MAX, 9), []);

        let many = BLOCKS_PER_USER_MAX;
        let sql = format!(
            "WITH RECURSIVE n (n) AS (SELECT 1001 UNION ALL SELECT n + 1 FROM n LIMIT {many})
             INSERT INTO users (number, uid, made_ms) SELECT n, 'more' || n, 0 FROM n;
             INSERT INTO blocks SELECT 2, number FROM users WHERE number > 1000;"
        );
        directory.write(|db| Ok(db.execute_batch(&sql)?)).unwrap();
        let full = block(world, 4, 2, 1);
        assert!(matches!(full, Err(DirectoryError::TooManyBlocks { max }) if max == many));
        assert!(block(world, 5, 2, 1001).unwrap().rows.is_empty(), "one of them again");
        unblock(world, 6, 2, 1001).unwrap();
        block(world, 7, 2, 1).unwrap();
        assert_eq!(directory.blocked_by(p(2), (p(0), many + 1)).unwrap().len(), many);
    });
}
