//! Random commands, compared with a model of who is where; and what a reopened file holds.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use damso_proto::id::{ChannelNo, Key, Seq, Uid, UserNo};
use proptest::prelude::*;

use super::{Command, Directory, DirectoryError, Options, OutboxId, Sqlite};
use crate::model::body::BodyHash;
use crate::model::rights::{RightsDelta, Role};
use crate::runtime::random::SeededRandom;

const PEOPLE: u64 = 5;
const OPTIONS: Options = Options { channels_per_user_max: 3, group_members_max: 4 };

#[derive(Clone, Debug)]
enum Step {
    Create { by: u64, others: Vec<u64> },
    Add { by: u64, group: usize, user: u64 },
    Remove { by: u64, group: usize, user: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let person = 1..=PEOPLE;
    prop_oneof![
        1 => (person.clone(), prop::collection::vec(person.clone(), 0..5))
            .prop_map(|(by, others)| Step::Create { by, others }),
        4 => (person.clone(), 0..4_usize, person.clone())
            .prop_map(|(by, group, user)| Step::Add { by, group, user }),
        4 => (person.clone(), 0..4_usize, person)
            .prop_map(|(by, group, user)| Step::Remove { by, group, user }),
    ]
}

/// A group: each member with the role and the step at which they came.
type Group = BTreeMap<u64, (Role, u64)>;

/// The rules in plain words. `None`: the command is refused.
fn expect(groups: &mut Vec<Group>, step: &Step, at: u64) -> Option<()> {
    let room = |groups: &[Group], user: u64| {
        groups.iter().filter(|group| group.contains_key(&user)).count() < 3
    };
    match step {
        Step::Create { by, others } => {
            let mut group: Group = others.iter().map(|user| (*user, (Role::Member, 1))).collect();
            group.insert(*by, (Role::Owner, 1));
            if group.len() > 4 || !group.keys().all(|user| room(groups, *user)) {
                return None;
            }
            groups.push(group);
        }
        Step::Add { by, group, user } => {
            let leads = groups.get(*group)?.get(by)?.0 == Role::Owner;
            let is_in = groups[*group].contains_key(user);
            if !leads || !is_in && (groups[*group].len() >= 4 || !room(groups, *user)) {
                return None;
            }
            groups[*group].entry(*user).or_insert((Role::Member, at));
        }
        Step::Remove { by, group, user } => {
            let group = groups.get_mut(*group)?;
            if group.get(by)?.0 == Role::Member && by != user {
                return None;
            }
            if matches!(group.remove(user), Some((Role::Owner, _)))
                && let Some(next) = group.values_mut().min_by_key(|(_, came)| *came)
            {
                next.0 = Role::Owner;
            }
        }
    }
    Some(())
}

fn open(path: &Path) -> Result<Sqlite, DirectoryError> {
    Sqlite::open(path, OPTIONS, Arc::new(SeededRandom::new(1)))
}

fn command(number: u64, user: u64) -> Command {
    let now_ms = 1_800_000_000_000 + number;
    let key = Key::new(now_ms, [0; 10]);
    Command { user: UserNo::new(user), key, body: BodyHash(0), now_ms }
}

proptest! {
    #[test]
    fn membership_is_what_the_rules_say_and_the_outbox_tells_it(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let directory = Sqlite::in_memory(OPTIONS, Arc::new(SeededRandom::new(1))).unwrap();
        for n in 1..=PEOPLE {
            directory.find_or_make_user(&Uid::parse(&n.to_string()).unwrap(), 0).unwrap();
        }
        let (mut groups, mut numbers) = (Vec::new(), Vec::<ChannelNo>::new());
        for (at, step) in (2..).zip(&steps) {
            let expected = expect(&mut groups, step, at);
            let number = |group: &usize| numbers.get(*group).copied().unwrap_or(ChannelNo::new(998));
            let (seq, user) = (Seq::new(at), UserNo::new);
            let done = match step {
                Step::Create { by, others } => {
                    let others: Vec<_> = others.iter().map(|other| user(*other)).collect();
                    let done = directory.create_group(&command(at, *by), "g", &others);
                    numbers.extend(done.as_ref().ok().map(|done| done.channel));
                    done
                }
                Step::Add { by, group, user: whom } => {
                    directory.add_member(&command(at, *by), number(group), user(*whom), seq)
                }
                Step::Remove { by, group, user: whom } => {
                    directory.remove_member(&command(at, *by), number(group), user(*whom), seq)
                }
            };
            prop_assert_eq!(done.is_ok(), expected.is_some(), "{:?}: {:?}", step, done);
        }
        for (number, group) in numbers.iter().zip(&groups) {
            let channel = directory.channel(*number).unwrap().unwrap();
            let members: Group = channel.members.iter()
                .map(|member| (member.user.get(), (member.role, member.from.get())))
                .collect();
            prop_assert_eq!(&members, group);
            // Whoever hears all that the outbox owes to the log knows the same.
            let mut heard = BTreeMap::new();
            for (version, row) in (1..).zip(&channel.pending) {
                let change = row.change.as_deref().unwrap();
                prop_assert_eq!(change.version, version);
                for person in &change.people {
                    match *person {
                        RightsDelta::Added(user, role) => {
                            heard.insert(user.get(), (role, row.at.get()));
                        }
                        RightsDelta::Removed(user) => drop(heard.remove(&user.get())),
                        RightsDelta::Promoted(user, role) => {
                            heard.get_mut(&user.get()).unwrap().0 = role;
                        }
                    }
                }
            }
            prop_assert_eq!(&heard, group);
        }
    }
}

#[test]
fn a_reopened_file_holds_all_that_was_answered() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("directory.sqlite");
    let (made, owed) = {
        let directory = open(&path).unwrap();
        directory.find_or_make_user(&Uid::parse("a").unwrap(), 0).unwrap();
        let made = directory.create_group(&command(1, 1), "g", &[]).unwrap();
        (made, directory.outbox(OutboxId(0), 9).unwrap())
    };
    let directory = open(&path).unwrap();
    assert_eq!(directory.outbox(OutboxId(0), 9).unwrap(), owed);
    assert_eq!(directory.channel(made.channel).unwrap().unwrap().members.len(), 1);
    let again = directory.create_group(&command(1, 1), "g", &[]).unwrap();
    assert_eq!((again.channel, again.is_repeated), (made.channel, true));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "nobody else reads who talks to whom");
}

#[test]
fn every_answer_is_on_disk_before_it_is_given() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("directory.sqlite");
    let directory = open(&path).unwrap();
    directory.find_or_make_user(&Uid::parse("a").unwrap(), 0).unwrap();
    let made = directory.create_group(&command(1, 1), "g", &[]).unwrap();
    // The files as a crash would leave them now: the writer is still open.
    let copy = place.path().join("copy.sqlite");
    for suffix in ["", "-wal"] {
        let from = format!("{}{suffix}", path.display());
        std::fs::copy(from, format!("{}{suffix}", copy.display())).unwrap();
    }
    let after_crash = open(&copy).unwrap();
    assert!(after_crash.channel(made.channel).unwrap().is_some());
    drop(directory);
}

#[test]
fn a_newer_or_foreign_file_is_refused_and_left_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let newer = place.path().join("newer.sqlite");
    drop(open(&newer).unwrap());
    let foreign = place.path().join("foreign.sqlite");
    for (path, sql, word) in [
        (&newer, "PRAGMA user_version = 2", "format 2"),
        (&foreign, "CREATE TABLE recipes (name TEXT)", "not a directory of damso"),
    ] {
        rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
        let before = std::fs::read(path).unwrap();
        match open(path) {
            Err(DirectoryError::Unfit(text)) => {
                assert!(text.contains(word) && text.contains(path.to_str().unwrap()), "{text}");
            }
            other => panic!("{other:?}"),
        }
        assert!(std::fs::read(path).unwrap() == before, "{word}");
    }
    let text = place.path().join("text");
    std::fs::write(&text, "x".repeat(5_000)).unwrap();
    assert!(open(&text).is_err());
}
