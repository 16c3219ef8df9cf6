//! What a channel is called, and what is noted on it.

use damso_proto::id::{ChannelNo, Seq};

use super::super::kit::{Short as _, new};
use super::super::{Command, Directory as _, DirectoryError, Done, NewChannel};
use super::world::{World, command, every_engine, p, seq, told};
use crate::model::body::BodyHash;
use crate::model::naming::{ChannelKey, CustomMap};
use crate::model::rights::{Actor, Denied, Kind, RightsChange, Role};
use crate::model::system;
use crate::model::update::ChannelUpdate;

fn service(key: u8) -> Command {
    Command { by: Actor::Service, ..command(key, 0) }
}

fn notes(entries: &[(&str, &str)]) -> CustomMap {
    let owned = entries.iter().map(|(name, text)| ((*name).into(), (*text).into()));
    CustomMap::check(owned.collect()).unwrap()
}

fn name(text: &str) -> ChannelUpdate {
    ChannelUpdate { name: Some(text.into()), custom: None }
}

fn note(entries: &[(&str, &str)]) -> ChannelUpdate {
    ChannelUpdate { name: None, custom: Some(notes(entries)) }
}

fn state(world: &World, channel: ChannelNo) -> (String, CustomMap, u64) {
    let heading = world.directory.heading(channel).unwrap().unwrap();
    (heading.name, heading.custom, heading.version)
}

/// The one event that tells it, at `at`, and a change that touches nobody's rights.
fn is_told(done: &Done, kind: Kind, at: u64, version: u64, by: u64, changed: ChannelUpdate) {
    let event = system::channel_updated(p(by), version, changed);
    let change = RightsChange { kind, version, people: Vec::new() };
    assert_eq!(done.seq, seq(at));
    let rows: Vec<_> = done.rows.iter().map(told).collect();
    assert_eq!(rows, [(done.channel, seq(at), Some(event), Some(change))]);
}

#[test]
fn a_change_counts_the_version_up_and_is_told_once_to_all_of_any_kind() {
    every_engine(|world| {
        for (at, kind) in [Kind::Group, Kind::Broadcast].into_iter().enumerate() {
            let (directory, keys) = (&world.directory, 20 * at as u8);
            let custom = notes(&[("total", "12")]);
            let key = ChannelKey::parse(if at == 0 { "order:1" } else { "order:2" }).unwrap();
            let made =
                NewChannel { key: Some(&key), owner: Some(p(1)), ..new(kind, "점심", &custom) };
            let made = directory.create_channel(&service(keys + 1), &made, &[p(2)]).unwrap();
            let channel = made.channel;
            let update = |command: &Command, update: &ChannelUpdate, at| {
                directory.update_channel(command, channel, update, seq(at)).unwrap()
            };
            let renamed = update(&command(keys + 2, 1), &name("저녁"), 7);
            is_told(&renamed, kind, 7, 2, 1, name("저녁"));
            assert_eq!(state(world, channel), ("저녁".into(), custom.clone(), 2));
            let noted = update(&service(keys + 3), &note(&[("color", "red")]), 8);
            is_told(&noted, kind, 8, 3, 0, note(&[("color", "red")]));
            assert_eq!(state(world, channel), ("저녁".into(), notes(&[("color", "red")]), 3));
            // Of two that are asked for, the one that is so already is not told.
            let both = ChannelUpdate { custom: Some(notes(&[])), ..name("저녁") };
            is_told(&update(&service(keys + 4), &both, 9), kind, 9, 4, 0, note(&[]));
            assert_eq!(state(world, channel), ("저녁".into(), CustomMap::default(), 4));
            let again = update(&service(keys + 5), &both, 10);
            assert_eq!((again.seq, again.rows.len()), (Seq::ZERO, 0), "nothing is different");
            assert_eq!(state(world, channel).2, 4);
            // Who owes it after a crash owes just this, and its members see it in their lists.
            let owed = directory.channel(channel).unwrap().unwrap().pending.pop().unwrap();
            assert_eq!((owed.at, owed.owed.change().unwrap().people.len()), (seq(9), 0));
            let seen = directory.membership(p(2), channel).unwrap().unwrap().heading;
            assert_eq!((&*seen.name, seen.version, seen.key), ("저녁", 4, Some(key)));
        }
    });
}

#[test]
fn a_repetition_is_answered_as_at_first_and_brings_nothing_back() {
    every_engine(|world| {
        let directory = &world.directory;
        let group = world.group(1, 1, &[2]);
        let update = |key, to: &str, at| {
            directory.update_channel(&command(key, 1), group, &name(to), seq(at))
        };
        assert_eq!(update(2, "first", 2).unwrap().seq, seq(2));
        assert_eq!(update(3, "second", 3).unwrap().seq, seq(3));
        let again = update(2, "first", 4).unwrap();
        assert_eq!((again.seq, again.is_repeated, again.rows.len()), (seq(2), true, 0));
        assert_eq!(&*state(world, group).0, "second");
        let other = Command { body: BodyHash(7), ..command(2, 1) };
        let reused = directory.update_channel(&other, group, &name("third"), seq(4));
        assert!(matches!(reused, Err(DirectoryError::KeyReused)));
        assert_eq!(state(world, group).2, 3);
    });
}

#[test]
fn those_who_lead_name_a_channel_and_the_backend_alone_notes_on_it() {
    every_engine(|world| {
        let directory = &world.directory;
        let group = world.group(1, 1, &[2, 3, 4]);
        directory.set_role(&command(2, 1), group, p(2), Role::Moderator, seq(2)).unwrap();
        directory.set_role(&command(3, 1), group, p(4), Role::Reader, seq(3)).unwrap();
        let direct = directory.open_mine(&command(4, 1), p(2)).unwrap().channel;
        let own = ChannelNo::self_of(p(1));
        let before = (state(world, group), state(world, direct));
        let both = ChannelUpdate { custom: Some(notes(&[])), ..name("x") };
        let mut key = 10;
        let mut ask = |by: Actor, channel, update: &ChannelUpdate| {
            key += 1;
            let command = Command { by, ..command(key, 0) };
            directory.update_channel(&command, channel, update, seq(4)).map(|done| done.seq)
        };
        let user = |n| Actor::User(p(n));
        for (who, what, denied) in [
            (user(3), name("x"), Denied::Role),
            (user(4), name("x"), Denied::Role),
            (user(5), name("x"), Denied::Stranger),
            (user(5), note(&[]), Denied::Stranger),
            (user(1), note(&[("a", "1")]), Denied::Role),
            (user(2), both, Denied::Role),
        ] {
            let refused = ask(who, group, &what);
            assert!(
                matches!(&refused, Err(DirectoryError::Denied(why)) if *why == denied),
                "{who:?} {what:?}: {refused:?}"
            );
        }
        for who in [user(1), Actor::Service] {
            for what in [name("x"), note(&[("a", "1")])] {
                let refused = ask(who, direct, &what);
                assert!(matches!(refused, Err(DirectoryError::Denied(Denied::Kind))), "{who:?}");
                let refused = ask(who, own, &what);
                assert!(matches!(refused, Err(DirectoryError::NoChannel)), "{who:?}");
            }
        }
        assert_eq!((state(world, group), state(world, direct)), before, "nothing was changed");
        for who in [user(1), user(2), Actor::Service] {
            let named = format!("by {who:?}");
            assert_eq!(ask(who, group, &name(&named)).unwrap(), seq(4));
            assert_eq!(state(world, group).0, named);
        }
    });
}
