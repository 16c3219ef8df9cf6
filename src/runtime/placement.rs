//! Which shard orders a channel, and which is a person's home: one hash for both.

use std::num::NonZeroU16;

use damso_proto::id::{ChannelNo, UserNo};

use super::route::ShardNo;

/// How many shards this server runs: 1 to [`Shards::MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shards(NonZeroU16);

impl Shards {
    /// Most shards of a server: a message id has 5 bits for the shard.
    pub const MAX: u16 = 32;
    /// A single shard.
    pub const ONE: Self = Self(NonZeroU16::MIN);

    /// `None`: zero, or more than [`Shards::MAX`].
    pub fn new(count: u16) -> Option<Self> {
        NonZeroU16::new(count).filter(|count| count.get() <= Self::MAX).map(Self)
    }

    /// How many.
    pub const fn count(self) -> usize {
        self.0.get() as usize
    }

    /// Each of them, from the first.
    pub fn all(self) -> impl ExactSizeIterator<Item = ShardNo> + Clone {
        (0..self.0.get()).map(ShardNo::new)
    }
}

/// The shard that orders `channel`.
pub fn owner(channel: ChannelNo, shards: Shards) -> ShardNo {
    // The high half of hash x count spreads evenly over any count, without a division.
    let scaled = u128::from(mix(channel.get())) * u128::from(shards.0.get());
    ShardNo::new(u16::try_from(scaled >> 64).expect("below the count, which is a u16"))
}

/// The shard that holds a person's connections: the owner of their own log.
pub fn home(user: UserNo, shards: Shards) -> ShardNo {
    owner(ChannelNo::self_of(user), shards)
}

/// SplitMix64's finaliser: every input bit reaches every output bit, and no two inputs meet.
pub(super) const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_channels_spread_over_all_shards() {
        for count in [1, 2, 3, 14, 32] {
            let shards = Shards::new(count).unwrap();
            let mut held = vec![0_usize; shards.count()];
            for n in 1..=10_000 {
                held[owner(ChannelNo::new(2 * n), shards).index()] += 1;
            }
            let fair = 10_000 / shards.count();
            for (shard, held) in held.into_iter().enumerate() {
                assert!(held.abs_diff(fair) * 5 <= fair, "shard {shard} of {count} holds {held}");
            }
        }
    }

    #[test]
    fn home_is_where_the_own_log_is() {
        let shards = Shards::new(5).unwrap();
        for user in (1..100).map(UserNo::new) {
            assert_eq!(home(user, shards), owner(ChannelNo::self_of(user), shards));
        }
    }

    #[test]
    fn a_server_has_1_to_32_shards() {
        assert_eq!(Shards::new(0), None);
        assert_eq!(Shards::new(33), None);
        assert_eq!(Shards::new(1), Some(Shards::ONE));
        assert_eq!(Shards::new(32).unwrap().all().len(), 32);
    }
}
