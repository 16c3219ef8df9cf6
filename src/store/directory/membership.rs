//! Random commands, compared with a model of who is where; and what a reopened file holds.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use damso_proto::id::{ChannelNo, Key, Seq, Uid, UserNo};
use proptest::prelude::*;

use super::kit::{Short as _, joining, new};
use super::{Command, Directory, DirectoryError, Options, OutboxId, Sqlite};
use crate::model::body::BodyHash;
use crate::model::naming::CustomMap;
use crate::model::rights::{Actor, Kind, RightsDelta, Role};
use crate::runtime::random::SeededRandom;

const PEOPLE: u64 = 5;
const OPTIONS: Options =
    Options { channels_per_user_max: 3, group_members_max: 4, broadcast_members_max: 4 };

#[derive(Clone, Debug)]
enum Step {
    Create { by: u64, others: Vec<u64>, kind: Kind },
    Add { by: u64, channel: usize, user: u64, role: Option<Role> },
    Remove { by: u64, channel: usize, user: u64 },
    Give { by: u64, channel: usize, user: u64, role: Role },
}

fn step() -> impl Strategy<Value = Step> {
    let person = 1..=PEOPLE;
    let role = prop::sample::select(Role::ALL.to_vec());
    let kind = prop::sample::select(vec![Kind::Group, Kind::Broadcast]);
    prop_oneof![
        1 => (person.clone(), prop::collection::vec(person.clone(), 0..5), kind)
            .prop_map(|(by, others, kind)| Step::Create { by, others, kind }),
        4 => (person.clone(), 0..4_usize, person.clone(), prop::option::of(role.clone()))
            .prop_map(|(by, channel, user, role)| Step::Add { by, channel, user, role }),
        4 => (person.clone(), 0..4_usize, person.clone())
            .prop_map(|(by, channel, user)| Step::Remove { by, channel, user }),
        4 => (person.clone(), 0..4_usize, person, role)
            .prop_map(|(by, channel, user, role)| Step::Give { by, channel, user, role }),
    ]
}

/// A channel: each member with the role and the step at which they came.
#[derive(Clone, Debug)]
struct Group {
    kind: Kind,
    members: BTreeMap<u64, (Role, u64)>,
}

impl Group {
    /// Whether `by` leads, and so decides about those who hold `role`.
    fn leads(&self, by: u64, role: Role) -> bool {
        match self.members.get(&by).map(|(role, _)| *role) {
            Some(Role::Owner) => role != Role::Owner,
            Some(Role::Moderator) => matches!(role, Role::Member | Role::Reader),
            _ => false,
        }
    }
}

/// The rules in plain words. `None`: the command is refused.
fn expect(groups: &mut Vec<Group>, step: &Step, at: u64) -> Option<()> {
    let room = |groups: &[Group], user: u64| {
        groups.iter().filter(|group| group.members.contains_key(&user)).count() < 3
    };
    match step {
        Step::Create { by, others, kind } => {
            let role = if *kind == Kind::Group { Role::Member } else { Role::Reader };
            let mut members: BTreeMap<_, _> = others.iter().map(|it| (*it, (role, 1))).collect();
            members.insert(*by, (Role::Owner, 1));
            if members.len() > 4 || !members.keys().all(|user| room(groups, *user)) {
                return None;
            }
            groups.push(Group { kind: *kind, members });
        }
        Step::Add { by, channel, user, role } => {
            let group = groups.get(*channel)?;
            let usual = if group.kind == Kind::Group { Role::Member } else { Role::Reader };
            let role = role.unwrap_or(usual);
            let is_in = group.members.contains_key(user);
            let fits = is_in || group.members.len() < 4 && room(groups, *user);
            if role == Role::Owner || !group.leads(*by, role) || !fits {
                return None;
            }
            groups[*channel].members.entry(*user).or_insert((role, at));
        }
        Step::Remove { by, channel, user } => {
            let group = groups.get_mut(*channel)?;
            let held = group.members.get(user).map(|(role, _)| *role);
            // Whoever is not in it: as if it were a reader.
            if !group.members.contains_key(by)
                || by != user && !group.leads(*by, held.unwrap_or(Role::Reader))
            {
                return None;
            }
            group.members.remove(user);
            let kind = group.kind;
            let fit = group
                .members
                .values_mut()
                .filter(|(role, _)| kind == Kind::Group || *role != Role::Reader);
            if held == Some(Role::Owner)
                && let Some(next) = fit.min_by_key(|(role, came)| (*role, *came))
            {
                next.0 = Role::Owner;
            }
        }
        Step::Give { by, channel, user, role } => {
            let group = groups.get_mut(*channel)?;
            let held = group.members.get(user)?.0;
            let gives_away = *role == Role::Owner && group.members.get(by)?.0 == Role::Owner;
            if !group.leads(*by, held) || !gives_away && !group.leads(*by, *role) {
                return None;
            }
            if gives_away {
                group.members.get_mut(by)?.0 = Role::Moderator;
            }
            group.members.get_mut(user)?.0 = *role;
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
    Command { by: Actor::User(UserNo::new(user)), key, body: BodyHash(0), now_ms }
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
                Step::Create { by, others, kind } => {
                    let others: Vec<_> = others.iter().map(|other| user(*other)).collect();
                    let none = CustomMap::default();
                    let new = new(*kind, "g", &none);
                    let done = directory.create_channel(&command(at, *by), &new, &others);
                    numbers.extend(done.as_ref().ok().map(|done| done.channel));
                    done
                }
                Step::Add { by, channel, user: whom, role } => {
                    let joining = joining(&[user(*whom)], *role);
                    directory.add_members(&command(at, *by), number(channel), &joining, seq)
                }
                Step::Remove { by, channel, user: whom } => {
                    directory.remove_member(&command(at, *by), number(channel), user(*whom), seq)
                }
                Step::Give { by, channel, user: whom, role } => {
                    let by = command(at, *by);
                    directory.set_role(&by, number(channel), user(*whom), *role, seq)
                }
            };
            prop_assert_eq!(done.is_ok(), expected.is_some(), "{:?}: {:?}", step, done);
        }
        for (number, Group { kind, members }) in numbers.iter().zip(&groups) {
            let listed = directory.members(*number, UserNo::new(0), 99).unwrap();
            let listed: BTreeMap<_, _> = listed
                .iter()
                .map(|(member, _)| (member.user.get(), (member.role, member.from.get())))
                .collect();
            prop_assert_eq!(&listed, members);
            let channel = directory.channel(*number).unwrap().unwrap();
            let kept = members.iter().filter(|(_, (role, _))| {
                *kind == Kind::Group || *role != Role::Reader
            });
            let kept: Vec<_> = kept.map(|(user, _)| UserNo::new(*user)).collect();
            let told: Vec<_> = channel.members.iter().map(|member| member.user).collect();
            prop_assert_eq!(told, kept);
            if let Some(user) = members.keys().next() {
                let one = directory.membership(UserNo::new(*user), *number).unwrap().unwrap();
                prop_assert_eq!(one.heading.members, members.len() as u64);
            }
            // Whoever hears all that the outbox owes knows the same.
            let mut heard = BTreeMap::new();
            for (version, row) in (1..).zip(&directory.outbox_of(*number).unwrap()) {
                let change = row.owed.change().unwrap();
                prop_assert_eq!((change.version, change.kind), (version, *kind));
                for person in &change.people {
                    match *person {
                        RightsDelta::Added(user, role, _) => {
                            heard.insert(user.get(), (role, row.at.get()));
                        }
                        RightsDelta::Removed(user) => drop(heard.remove(&user.get())),
                        RightsDelta::Muted(..) | RightsDelta::Blocks(..) => {
                            unreachable!("no step mutes or blocks")
                        }
                        RightsDelta::RoleSet(user, role) => {
                            heard.get_mut(&user.get()).unwrap().0 = role;
                        }
                    }
                }
            }
            prop_assert_eq!(&heard, members);
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
        (&newer, "PRAGMA user_version = 99", "format 99"),
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
