//! Paying for a request: what every send costs before anything else is done with it.

use std::time::Duration;

use criterion::{Criterion, Throughput};
use damso::model::limits;
use damso::requests::{Budgets, Purse};
use damso_proto::id::UserNo;
use damso_proto::time::Moment;

/// People who ask in turn.
const PEOPLE: u64 = 10_000;

/// All benchmarks of this file.
pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("budget");
    group.throughput(Throughput::Elements(1));
    for (name, people) in [("one person pays", 1), ("10,000 people pay in turn", PEOPLE)] {
        group.bench_function(name, |bencher| {
            let mut budgets = Budgets::new(limits::Limits::DEFAULT.rates(), limits::BUDGETS_MAX);
            let (mut now, mut user) = (Moment::from_micros(1), 0);
            bencher.iter(|| {
                // As fast as one person may go on for ever.
                now = now.plus(Duration::from_millis(50));
                user = (user + 1) % people;
                budgets.pay(UserNo::new(user), (Purse::Changes, 1), now).is_ok()
            });
        });
    }
    group.finish();
}
