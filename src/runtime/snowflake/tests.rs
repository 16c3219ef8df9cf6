//! Laws of message ids, under clocks that step, channels that move, and restarts.

use std::collections::HashSet;

use damso_proto::id::{ID_EPOCH_MS, MessageId};
use proptest::prelude::*;

use super::{Machine, Snowflake};
use crate::runtime::clock::Readings;
use crate::runtime::route::ShardNo;

const MINUTE_MS: u64 = 60_000;

fn machine(number: u16) -> Machine {
    Machine::new(number / 32, ShardNo::new(number % 32)).unwrap()
}

/// Readings `ms` after both clocks started, time of day `ahead_ms` off.
fn at(ms: u64, ahead_ms: i64) -> Readings {
    let unix_ms = (ID_EPOCH_MS + MINUTE_MS * 60 + ms).saturating_add_signed(ahead_ms);
    Readings { unix_ms, boot_ms: 1_000 + ms }
}

#[test]
fn an_id_tells_its_time_and_its_machine() {
    let id = Snowflake::new(machine(0x2a5), MessageId::default()).mint(at(7, 0));
    assert_eq!(id.unix_ms(), at(7, 0).unix_ms);
    assert_eq!(id.get() >> 12 & 0x3ff, 0x2a5);
    assert_eq!(id.get() >> 63, 0);
}

#[test]
fn a_machine_is_a_node_and_a_shard_below_32() {
    assert!(Machine::new(31, ShardNo::new(31)).is_some());
    assert_eq!(Machine::new(32, ShardNo::new(0)), None);
    assert_eq!(Machine::new(0, ShardNo::new(32)), None);
    assert_ne!(Machine::new(1, ShardNo::new(0)), Machine::new(0, ShardNo::new(1)));
}

#[test]
fn a_used_up_sequence_borrows_the_next_millisecond() {
    let ids = Snowflake::new(machine(1), MessageId::default());
    let minted: Vec<_> = (0..4_097).map(|_| ids.mint(at(0, 0))).collect();
    assert!(minted.is_sorted_by(|a, b| a < b));
    assert_eq!(minted[4_095].unix_ms(), at(0, 0).unix_ms);
    assert_eq!(minted[4_096].unix_ms(), at(0, 0).unix_ms + 1);
}

#[test]
fn a_clock_that_goes_back_is_held() {
    let ids = Snowflake::new(machine(1), MessageId::default());
    let before = ids.mint(at(0, 0));
    let after = ids.mint(at(10, -3_600_000));
    assert!(after > before);
    assert_eq!(after.unix_ms(), before.unix_ms());
}

#[test]
fn a_leap_forward_is_followed_only_after_a_minute_of_agreement() {
    const HOUR_AHEAD: i64 = 3_600_000;
    let ids = Snowflake::new(machine(1), MessageId::default());
    ids.mint(at(0, 0));
    for ms in [10, 30_000, 60_009] {
        let id = ids.mint(at(ms, HOUR_AHEAD));
        assert_eq!(id.unix_ms(), at(ms, 0).unix_ms, "{ms} ms on, the boot clock is followed");
    }
    assert_eq!(ids.leaps(), 1);
    assert_eq!(ids.mint(at(60_010, HOUR_AHEAD)).unix_ms(), at(60_010, HOUR_AHEAD).unix_ms);
    assert_eq!(ids.mint(at(60_020, HOUR_AHEAD)).unix_ms(), at(60_020, HOUR_AHEAD).unix_ms);
    assert_eq!(ids.leaps(), 1);
}

#[test]
fn a_clock_that_cannot_make_up_its_mind_is_not_believed() {
    let ids = Snowflake::new(machine(1), MessageId::default());
    ids.mint(at(0, 0));
    for minute in 1..100 {
        let ms = minute * MINUTE_MS;
        let id = ids.mint(at(ms, 3_600_000 + (minute as i64) * 5_000));
        assert_eq!(id.unix_ms(), at(ms, 0).unix_ms);
    }
}

#[test]
fn a_leap_that_is_taken_back_is_forgotten() {
    let ids = Snowflake::new(machine(1), MessageId::default());
    ids.mint(at(0, 0));
    ids.mint(at(10, 3_600_000));
    ids.mint(at(20, 0));
    let id = ids.mint(at(90_000, 3_600_000));
    assert_eq!(id.unix_ms(), at(90_000, 0).unix_ms, "the minute begins anew");
    assert_eq!(ids.leaps(), 2);
}

#[test]
fn small_steps_are_followed_at_once() {
    let ids = Snowflake::new(machine(1), MessageId::default());
    ids.mint(at(0, 0));
    assert_eq!(ids.mint(at(1, 60_000)).unix_ms(), at(1, 60_000).unix_ms);
    assert_eq!(ids.leaps(), 0);
}

#[test]
fn a_clock_beyond_the_range_still_yields_unique_positive_ids() {
    let ids = Snowflake::new(machine(1023), MessageId::default());
    let broken = Readings { unix_ms: u64::MAX, boot_ms: 0 };
    let minted: HashSet<_> = (0..10_000).map(|_| ids.mint(broken)).collect();
    assert_eq!(minted.len(), 10_000);
    assert!(minted.iter().all(|id| id.get() >> 63 == 0 && id.get() > 0));
}

#[test]
fn threads_that_share_a_generator_never_get_the_same_id() {
    let ids = Snowflake::new(machine(1), MessageId::default());
    let minted: Vec<Vec<MessageId>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| (0..20_000).map(|_| ids.mint(at(0, 0))).collect()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(minted.iter().all(|own| own.is_sorted_by(|a, b| a < b)));
    assert_eq!(minted.iter().flatten().collect::<HashSet<_>>().len(), 80_000);
}

/// What happens to a cluster of generators and the channels that they order.
#[derive(Clone, Debug)]
enum Step {
    /// The owner of a channel mints its next id, this much later.
    Mint { channel: usize, later_ms: u64 },
    /// A channel moves to another machine.
    Move { channel: usize, machine: usize },
    /// The time of day of a machine is set.
    Set { machine: usize, ahead_ms: i64 },
    /// A machine starts anew above the highest stored id, as after a crash.
    Restart { machine: usize },
}

const CHANNELS: usize = 3;
const MACHINES: usize = 3;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..CHANNELS, prop_oneof![Just(0), 0..90_000_u64])
            .prop_map(|(channel, later_ms)| Step::Mint { channel, later_ms }),
        2 => (0..CHANNELS, 0..MACHINES)
            .prop_map(|(channel, machine)| Step::Move { channel, machine }),
        1 => (0..MACHINES, -200_000_i64..200_000)
            .prop_map(|(machine, ahead_ms)| Step::Set { machine, ahead_ms }),
        1 => (0..MACHINES).prop_map(|machine| Step::Restart { machine }),
    ]
}

proptest! {
    #[test]
    fn ids_are_unique_and_rise_in_every_channel(steps in prop::collection::vec(step(), 1..300)) {
        let start = |number: usize, above| Snowflake::new(machine(number as u16 * 341), above);
        let mut generators: Vec<_> =
            (0..MACHINES).map(|number| start(number, MessageId::default())).collect();
        let mut ahead_ms = [0; MACHINES];
        let mut owners = [0; CHANNELS];
        let mut last = [MessageId::default(); CHANNELS];
        let mut seen = HashSet::new();
        let mut now_ms = 0;
        for step in steps {
            match step {
                Step::Mint { channel, later_ms } => {
                    now_ms += later_ms;
                    let owner = owners[channel];
                    let id = generators[owner].mint(at(now_ms, ahead_ms[owner]));
                    prop_assert!(id > last[channel], "{id} after {}", last[channel]);
                    prop_assert!(seen.insert(id), "{id} twice");
                    prop_assert_eq!(id.get() >> 12 & 0x3ff, owner as u64 * 341);
                    last[channel] = id;
                }
                Step::Move { channel, machine } => {
                    owners[channel] = machine;
                    generators[machine].raise_above(last[channel]);
                }
                Step::Set { machine, ahead_ms: ahead } => ahead_ms[machine] = ahead,
                Step::Restart { machine } => {
                    let above = last.iter().copied().max().unwrap_or_default();
                    generators[machine] = start(machine, above);
                }
            }
        }
    }
}
