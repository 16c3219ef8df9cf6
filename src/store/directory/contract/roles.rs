//! Roles, broadcasts, and the backend.

use damso_proto::id::{ChannelNo, Seq};

use super::super::kit::{Short as _, joining, new};
use super::super::{Command, Directory as _, DirectoryError, Joining, NewChannel};
use super::world::{NOW_MS, World, command, command_at, every_engine, p, seq, told};
use crate::model::naming::{ChannelKey, CustomMap};
use crate::model::rights::{Actor, Denied, Kind, RightsChange, RightsDelta, Role, Sight};
use crate::model::system;

#[test]
fn in_a_broadcast_who_comes_and_goes_is_told_to_them_and_to_the_shards_alone() {
    every_engine(|world| {
        let directory = &world.directory;
        let made = directory.create_broadcast(&command(1, 1), &[p(2)]).unwrap();
        let news = made.channel;
        assert_eq!(made.rows[0].owed.event(), Some(&system::created(p(1), &[])), "no names");
        let silent = |at, version, people| {
            let change = RightsChange { kind: Kind::Broadcast, version, people };
            (news, seq(at), None, Some(change))
        };
        let own = |user, event| (ChannelNo::self_of(p(user)), Seq::ZERO, Some(event), None);
        let joins = |user, sight| RightsDelta::Added(p(user), Role::Reader, sight);
        let joining =
            Joining { sight: Sight::FromStart, ..joining(&[p(4), p(2), p(3), p(4)], None) };
        let added = directory.add_members(&command(2, 1), news, &joining, seq(7)).unwrap();
        assert_eq!(added.seq, seq(6), "the last event before it");
        let expected = [
            silent(7, 2, vec![joins(4, Sight::FromStart), joins(3, Sight::FromStart)]),
            own(4, system::channel_added(news, seq(1), seq(6))),
            own(3, system::channel_added(news, seq(1), seq(6))),
        ];
        assert_eq!(added.rows.iter().map(told).collect::<Vec<_>>(), expected);
        let role = |by, user, role| system::role_set(p(by), p(user), role, Some(news));
        let raised = directory.set_role(&command(3, 1), news, p(3), Role::Member, seq(8)).unwrap();
        let expected = [
            silent(8, 3, vec![RightsDelta::RoleSet(p(3), Role::Member)]),
            own(3, role(1, 3, Role::Member)),
        ];
        assert_eq!(raised.rows.iter().map(told).collect::<Vec<_>>(), expected);
        let removed = directory.remove_member(&command(4, 1), news, p(4), seq(9)).unwrap();
        let expected = [
            silent(9, 4, vec![RightsDelta::Removed(p(4))]),
            own(4, system::channel_removed(news, seq(8))),
        ];
        assert_eq!(removed.rows.iter().map(told).collect::<Vec<_>>(), expected);
        // The owner is told of those who write; the others are counted.
        assert_eq!(world.roles(news), [(1, Role::Owner), (3, Role::Member)]);
        let membership = directory.membership(p(2), news).unwrap().unwrap();
        assert_eq!((membership.role, membership.heading.members), (Role::Reader, 3));
        // The owner leaves, and then the last one who may write.
        let left = directory.remove_member(&command(5, 1), news, p(1), seq(9)).unwrap();
        assert_eq!(told(&left.rows[2]), own(3, role(1, 3, Role::Owner)));
        directory.remove_member(&command(6, 3), news, p(3), seq(9)).unwrap();
        assert_eq!((world.roles(news), world.channels_of(2)), (vec![], vec![news]));
    });
}

#[test]
fn roles_are_given_by_those_above_them_and_there_is_one_owner() {
    every_engine(|world| {
        let directory = &world.directory;
        let group = world.group(1, 1, &[2, 3, 4]);
        let mut key = 1;
        let mut give = |by, whom, role, at| {
            key += 1;
            directory.set_role(&command(key, by), group, p(whom), role, seq(at))
        };
        let done = give(1, 2, Role::Moderator, 2).unwrap();
        let event = system::role_set(p(1), p(2), Role::Moderator, None);
        assert_eq!((done.rows.len(), done.rows[0].owed.event()), (1, Some(&event)));
        assert_eq!(give(1, 2, Role::Moderator, 3).unwrap().seq, Seq::ZERO, "is it already");
        give(2, 3, Role::Reader, 3).unwrap();
        for (by, whom, role) in [
            (2, 3, Role::Moderator),
            (2, 1, Role::Reader),
            (2, 2, Role::Owner),
            (3, 4, Role::Reader),
            (1, 1, Role::Member),
        ] {
            let denied = give(by, whom, role, 4);
            assert!(matches!(denied, Err(DirectoryError::Denied(_))), "{by} {whom}");
        }
        assert!(matches!(give(1, 9, Role::Reader, 4), Err(DirectoryError::NoUser(_))));
        let given = give(1, 4, Role::Owner, 4).unwrap();
        let people =
            [RightsDelta::RoleSet(p(1), Role::Moderator), RightsDelta::RoleSet(p(4), Role::Owner)];
        assert_eq!(given.rows[0].owed.change().unwrap().people, people);
        let roles = [Role::Moderator, Role::Moderator, Role::Reader, Role::Owner];
        assert_eq!(world.roles(group), (1..).zip(roles).collect::<Vec<_>>());
        // A moderator takes over before a reader who has been in it as long.
        directory.remove_member(&command(90, 4), group, p(4), seq(9)).unwrap();
        assert_eq!(world.roles(group)[0], (1, Role::Owner));
    });
}

#[test]
fn the_backend_decides_about_everybody_and_is_nobodys_owner() {
    every_engine(|world| {
        let directory = &world.directory;
        let service = |key| Command { by: Actor::Service, ..command(key, 0) };
        let group = directory.create_group(&service(1), "g", &[p(1), p(2)]).unwrap();
        assert!(directory.create_group(&service(1), "g", &[p(1), p(2)]).unwrap().is_repeated);
        let group = group.channel;
        assert_eq!(world.roles(group), [(1, Role::Member), (2, Role::Member)]);
        directory.set_role(&service(2), group, p(1), Role::Owner, seq(2)).unwrap();
        directory.set_role(&service(3), group, p(2), Role::Owner, seq(3)).unwrap();
        directory.remove_member(&service(4), group, p(2), seq(4)).unwrap();
        assert_eq!(world.roles(group), [(1, Role::Owner)]);
        let direct = directory.open_mine(&command(5, 1), p(2)).unwrap().channel;
        let added = directory.add_member(&service(6), direct, p(3), seq(2));
        assert!(matches!(added, Err(DirectoryError::Denied(Denied::Kind))));
        // Whom it names as owner is one; whom a person names is not.
        let custom = CustomMap::default();
        let owned = NewChannel { owner: Some(p(2)), ..new(Kind::Group, "g", &custom) };
        let of_two = directory.create_channel(&service(7), &owned, &[p(1), p(2)]).unwrap();
        assert_eq!(world.roles(of_two.channel), [(1, Role::Member), (2, Role::Owner)]);
        let of_one = directory.create_channel(&command(8, 1), &owned, &[p(2)]).unwrap();
        assert_eq!(world.roles(of_one.channel), [(1, Role::Owner), (2, Role::Member)]);
        let nobodys = NewChannel { owner: Some(p(77)), ..owned };
        let missing = directory.create_channel(&service(9), &nobodys, &[]);
        assert!(matches!(missing, Err(DirectoryError::NoUser(_))));
    });
}

#[test]
fn a_broadcast_has_many_readers_and_few_writers() {
    every_engine(|world| {
        let directory = &world.directory;
        let news = directory.create_broadcast(&command(1, 1), &[]).unwrap().channel;
        let many: Vec<_> = (2..=7).map(p).collect();
        directory.add_members(&command(2, 1), news, &joining(&many, None), seq(2)).unwrap();
        let eighth = directory.add_member(&command(3, 1), news, p(8), seq(2));
        assert!(matches!(eighth, Err(DirectoryError::TooManyMembers { max: 7 })));
        for user in 2..=5 {
            let raise = command(10 + user as u8, 1);
            directory.set_role(&raise, news, p(user), Role::Member, seq(2)).unwrap();
        }
        let sixth = directory.set_role(&command(20, 1), news, p(6), Role::Member, seq(2));
        assert!(matches!(sixth, Err(DirectoryError::TooManyMembers { max: 5 })));
        directory.remove_member(&command(21, 1), news, p(7), seq(2)).unwrap();
        directory.add_member(&command(22, 1), news, p(8), seq(2)).unwrap();
    });
}

#[test]
fn a_change_that_may_be_told_again_says_what_still_holds() {
    every_engine(|world| {
        let directory = &world.directory;
        let group = world.group(1, 1, &[]);
        let people = |world: &World, at: usize| {
            let pending = world.directory.channel(group).unwrap().unwrap().pending;
            pending[at].owed.change().unwrap().people.clone()
        };
        let both = joining(&[p(2), p(3)], None);
        directory.add_members(&command(2, 1), group, &both, seq(2)).unwrap();
        directory.remove_member(&command(3, 1), group, p(2), seq(3)).unwrap();
        directory.set_role(&command(4, 1), group, p(3), Role::Reader, seq(4)).unwrap();
        let joined = RightsDelta::Added(p(3), Role::Reader, Sight::FromHere);
        assert_eq!(people(world, 1), [joined], "2 has left, and 3 reads");
        directory.add_member(&command(5, 1), group, p(2), seq(5)).unwrap();
        assert_eq!(people(world, 2), [], "2 is back");
        // The outbox itself keeps what was decided.
        assert_eq!(directory.outbox_of(group).unwrap()[1].owed.change().unwrap().people.len(), 2);
    });
}

#[test]
fn a_backend_finds_channels_by_its_own_keys_and_notes_what_it_likes() {
    every_engine(|world| {
        let directory = &world.directory;
        let key = ChannelKey::parse("order:1234").unwrap();
        let map = |text: &str| CustomMap::check([("note".into(), text.into())].into()).unwrap();
        let custom = map("gift");
        let group = NewChannel {
            kind: Kind::Group,
            name: "g",
            key: Some(&key),
            custom: &custom,
            owner: None,
        };
        assert_eq!(directory.channel_by_key(&key).unwrap(), None);
        let made = directory.create_channel(&command(1, 1), &group, &[p(2)]).unwrap();
        assert_eq!(directory.channel_by_key(&key).unwrap(), Some(made.channel));
        let heading = directory.heading(made.channel).unwrap().unwrap();
        assert_eq!((heading.key.as_ref(), &heading.custom), (Some(&key), &custom));
        let membership = directory.membership(p(2), made.channel).unwrap().unwrap();
        assert_eq!(membership.heading, heading);
        // Whoever makes it again finds it, and nothing else changes.
        let again = directory.create_channel(&command(2, 3), &group, &[p(4)]).unwrap();
        assert_eq!((again.channel, again.seq, again.rows.len()), (made.channel, Seq::ZERO, 0));
        assert_eq!(world.roles(made.channel).len(), 2);
        let broadcast = NewChannel { kind: Kind::Broadcast, ..group };
        let taken = directory.create_channel(&command(3, 1), &broadcast, &[]);
        assert!(matches!(taken, Err(DirectoryError::ChannelKeyTaken)));
        assert!(directory.heading(ChannelNo::self_of(p(1))).unwrap().is_none());

        let service = |key| Command { by: Actor::Service, ..command(key, 0) };
        let note = |key, user, text| directory.note_on_user(&service(key), user, &map(text));
        let noted = note(11, p(2), "vip").unwrap();
        assert_eq!((noted.number, &noted.custom), (p(2), &map("vip")));
        assert_eq!(directory.users(&[p(2)]).unwrap(), [noted]);
        assert_eq!(note(12, p(2), "").unwrap().custom, map(""));
        // Whoever repeats the first does not bring it back.
        assert_eq!(note(11, p(2), "vip").unwrap().custom, map(""));
        assert!(matches!(note(13, p(77), "vip"), Err(DirectoryError::NoUser(_))));
    });
}

#[test]
fn who_is_kept_out_goes_and_is_not_added_until_then() {
    every_engine(|world| {
        let directory = &world.directory;
        let group = world.group(1, 1, &[2, 3]);
        let until_ms = NOW_MS + 1_000;
        let banned = directory.ban_member(&command(2, 1), group, p(3), until_ms, seq(5)).unwrap();
        let event = system::member_removed(p(1), p(3), true);
        assert_eq!((banned.seq, banned.rows[0].owed.event()), (seq(5), Some(&event)));
        // Whoever is not in it is kept out without a word; for ever, this time.
        let stranger = directory.ban_member(&command(3, 1), group, p(4), 0, seq(6)).unwrap();
        assert_eq!((stranger.seq, stranger.rows.len()), (Seq::ZERO, 0));
        let add = |key, user, now_ms| {
            let command = command_at(now_ms, key, 1);
            directory.add_member(&command, group, p(user), seq(6))
        };
        for user in [3, 4] {
            let kept_out = add(10 + user as u8, user, NOW_MS);
            assert!(matches!(kept_out, Err(DirectoryError::Banned(who)) if who == p(user)));
        }
        let listed = |after, now_ms| {
            let bans = directory.bans(group, (p(after), 9), now_ms).unwrap();
            bans.into_iter().map(|ban| (ban.user, ban.until_ms)).collect::<Vec<_>>()
        };
        assert_eq!(listed(0, NOW_MS), [(p(3), until_ms), (p(4), 0)]);
        assert_eq!(listed(3, NOW_MS), [(p(4), 0)]);
        assert_eq!(listed(0, until_ms), [(p(4), 0)], "the other one is over");
        add(20, 3, until_ms).unwrap();
        directory.lift_ban(&command(21, 1), group, p(4)).unwrap();
        add(22, 4, NOW_MS).unwrap();
        for (by, whom) in [(2, 3), (1, 1), (3, 1)] {
            let denied = directory.ban_member(&command(30, by), group, p(whom), 0, seq(7));
            assert!(matches!(denied, Err(DirectoryError::Denied(Denied::Role))), "{by} {whom}");
        }
        let denied = directory.lift_ban(&command(31, 2), group, p(4));
        assert!(matches!(denied, Err(DirectoryError::Denied(Denied::Role))));
        assert_eq!(world.roles(group).len(), 4);
    });
}

#[test]
fn a_mute_is_told_where_a_role_is_and_ends_with_a_new_one() {
    every_engine(|world| {
        let directory = &world.directory;
        let group = world.group(1, 1, &[2]);
        let until_ms = NOW_MS + 1_000;
        let mute = |key, channel, until_ms| {
            directory.mute_member(&command(key, 1), channel, p(2), until_ms, seq(3)).unwrap()
        };
        let muted = mute(2, group, until_ms);
        let event = system::muted(p(1), p(2), until_ms, None);
        let people = [RightsDelta::Muted(p(2), until_ms)];
        assert_eq!((muted.rows.len(), muted.rows[0].owed.event()), (1, Some(&event)));
        assert_eq!(muted.rows[0].owed.change().unwrap().people, people);
        assert_eq!(mute(3, group, until_ms).seq, Seq::ZERO, "it is so already");
        let until = || directory.membership(p(2), group).unwrap().unwrap().muted_until_ms;
        assert_eq!(until(), until_ms);
        directory.set_role(&command(4, 1), group, p(2), Role::Moderator, seq(4)).unwrap();
        assert_eq!(until(), 0);
        let denied = directory.mute_member(&command(5, 2), group, p(1), until_ms, seq(5));
        assert!(matches!(denied, Err(DirectoryError::Denied(Denied::Role))));
        let nobody = directory.mute_member(&command(6, 1), group, p(9), until_ms, seq(5));
        assert!(matches!(nobody, Err(DirectoryError::NoUser(_))));
        let news = directory.create_broadcast(&command(7, 1), &[p(2)]).unwrap().channel;
        let own = system::muted(p(1), p(2), until_ms, Some(news));
        assert_eq!(mute(8, news, until_ms).rows[1].owed.event(), Some(&own));
    });
}
