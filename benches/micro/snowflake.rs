//! Minting message ids: by the shard that owns the generator, and by threads that share one.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use damso::runtime::clock::{Clock as _, RealClock};
use damso::runtime::route::ShardNo;
use damso::runtime::snowflake::{Machine, Snowflake};
use damso_proto::id::MessageId;

/// All benchmarks of this file.
pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snowflake");
    group.throughput(Throughput::Elements(1));
    let clock = RealClock::new();
    group.bench_function("read both clocks", |bencher| bencher.iter(|| clock.readings()));
    for threads in [1, 2, 4] {
        group.bench_function(BenchmarkId::new("mint", threads), |bencher| {
            bencher.iter_custom(|ids| mint(threads, ids));
        });
    }
    group.finish();
}

/// Wall time in which `threads` threads together mint `ids` ids, clocks read once per id.
fn mint(threads: u64, ids: u64) -> Duration {
    let machine = Machine::new(0, ShardNo::new(0)).expect("node 0, shard 0");
    let generator = Snowflake::new(machine, MessageId::default());
    let clock = RealClock::new();
    let each = ids.div_ceil(threads);
    let mint = || {
        let mut last = MessageId::default();
        for _ in 0..each {
            let id = generator.mint(clock.readings());
            assert!(id > last, "{id} after {last}");
            last = id;
        }
    };
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(mint);
        }
        mint();
    });
    began.elapsed()
}
