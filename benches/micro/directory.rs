//! The directory on disk: what a login reads, and durable commands.

use std::sync::Arc;

use criterion::{BatchSize, Criterion};
use damso::model::body::BodyHash;
use damso::model::naming::CustomMap;
use damso::model::rights::{Actor, Kind, Sight};
use damso::runtime::random::{Random as _, SystemRandom};
use damso::store::directory::{Command, Directory as _, Joining, NewChannel, Options, Sqlite};
use damso_proto::id::{ChannelNo, Key, Seq, Uid, UserNo};

const NOW_MS: u64 = 1_800_000_000_000;
const PEOPLE: u64 = 1_000;

/// All benchmarks of this file.
pub(crate) fn benches(criterion: &mut Criterion) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let options = Options { channels_per_user_max: usize::MAX, ..Options::default() };
    let random = Arc::new(SystemRandom::new());
    let path = place.path().join("directory.sqlite");
    let directory = Sqlite::open(&path, options, random).expect("a new directory");
    let uids: Vec<_> =
        (1..=PEOPLE).map(|n| Uid::parse(&format!("p{n}")).expect("a short name")).collect();
    for uid in &uids {
        directory.find_or_make_user(uid, NOW_MS).expect("a user");
    }
    // Other people each time, or the benchmark would measure how full their lists have become.
    let mut turn = 0;
    let custom = CustomMap::default();
    let new =
        NewChannel { kind: Kind::Group, name: "group", key: None, custom: &custom, owner: None };
    let mut group = || {
        turn = (turn + 11) % (PEOPLE - 11);
        let others: Vec<_> = (turn + 2..turn + 12).map(UserNo::new).collect();
        directory.create_channel(&command(turn + 1), &new, &others).expect("a group").channel
    };
    let mut first = group();
    for _ in 1..10 * PEOPLE / 11 {
        first = group();
    }
    let channel = directory.channel(first).expect("a read").expect("the last group");
    let (owner, user) = (channel.members[0].user, channel.members[1].user);
    let mut bench = criterion.benchmark_group("directory");
    bench.bench_function("user by uid", |bencher| {
        bencher.iter(|| directory.users_by_uid(&uids[500..501]));
    });
    bench.bench_function("10 memberships", |bencher| {
        bencher.iter(|| directory.memberships(user, ChannelNo::new(0), 10));
    });
    bench.bench_function("channel of 11", |bencher| {
        bencher.iter(|| directory.channel(first));
    });
    bench.bench_function("make a group of 11, durable", |bencher| bencher.iter(&mut group));
    bench.bench_function("add and remove a member, durable", |bencher| {
        let commands = || (command(owner.get()), command(owner.get()));
        let user = UserNo::new(PEOPLE);
        let joining = Joining { users: vec![user], role: None, sight: Sight::FromHere };
        bencher.iter_batched(
            commands,
            |(add, remove)| {
                directory.add_members(&add, first, &joining, Seq::new(2)).expect("added");
                directory.remove_member(&remove, first, user, Seq::new(3)).expect("removed");
            },
            BatchSize::SmallInput,
        );
    });
    bench.finish();
}

fn command(user: u64) -> Command {
    let mut random = [0; 10];
    SystemRandom::new().fill(&mut random);
    let key = Key::new(NOW_MS, random);
    Command { by: Actor::User(UserNo::new(user)), key, body: BodyHash(0), now_ms: NOW_MS }
}
