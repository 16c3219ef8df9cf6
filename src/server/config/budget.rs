//! How much memory a server may take: what was set, or what suits the machine.

use std::fmt;

use super::unit;
use crate::model::limits::{MEMORY_BESIDE_BYTES, MEMORY_FLOOR_BYTES, MEMORY_OF_MACHINE_PERCENT};
use crate::runtime::memory::Supply;

/// See the module's text. Shows itself with its reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::server) struct Budget {
    pub(in crate::server) bytes: u64,
    from: From,
}

/// Where it comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum From {
    Setting,
    /// A share of all there is.
    Machine,
    /// What a container may take, less what the kernel needs of it.
    Container,
    /// There is less, or nobody says how much.
    Floor,
}

impl Budget {
    /// The budget on this machine; `set`: what somebody asked for.
    pub(in crate::server) fn new(set: Option<usize>, supply: &Supply) -> Self {
        if let Some(bytes) = set {
            return Self { bytes: bytes as u64, from: From::Setting };
        }
        let share = (supply.total / 100 * MEMORY_OF_MACHINE_PERCENT, From::Machine);
        let inside = supply.limit.map(|limit| limit.saturating_sub(MEMORY_BESIDE_BYTES));
        let (bytes, from) = match inside.filter(|inside| *inside < share.0) {
            Some(inside) => (inside, From::Container),
            None => share,
        };
        // Whole MiB: it is told to people.
        match bytes >> 20 << 20 {
            bytes if bytes < MEMORY_FLOOR_BYTES => {
                Self { bytes: MEMORY_FLOOR_BYTES, from: From::Floor }
            }
            bytes => Self { bytes, from },
        }
    }

    /// What it is beyond, so that the kernel kills before it is reached. `None`: it fits, or nobody
    /// says how much there is.
    pub(in crate::server) fn beyond(&self, supply: &Supply) -> Option<(u64, &'static str)> {
        let all = (supply.total > 0).then_some((supply.total, "of this machine"));
        let container = supply.limit.map(|limit| (limit, "that the container may take"));
        container.or(all).filter(|(there, _)| self.bytes > *there)
    }

    /// As a file has it.
    pub(in crate::server) fn size(&self) -> String {
        unit::show_size(usize::try_from(self.bytes).unwrap_or(usize::MAX))
    }

    /// Why it is so much.
    pub(super) fn why(&self) -> &'static str {
        match self.from {
            From::Setting => "as set",
            From::Machine => "60 % of the machine's memory",
            From::Container => "what the container may take, less 512 MiB",
            From::Floor => "the least there may be",
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.size(), self.why())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn supply(total: u64, limit: Option<u64>) -> Supply {
        Supply { total, available: total / 2, limit }
    }

    #[test]
    fn what_nobody_set_suits_the_machine() {
        for (supply, told) in [
            (supply(100 * GIB, None), "60GiB: 60 % of the machine's memory"),
            (supply(100 * GIB, Some(90 * GIB)), "60GiB: 60 % of the machine's memory"),
            (
                supply(100 * GIB, Some(4 * GIB)),
                "3584MiB: what the container may take, less 512 MiB",
            ),
            (supply(100 * GIB, Some(GIB / 2)), "384MiB: the least there may be"),
            (supply(GIB / 2, None), "384MiB: the least there may be"),
            (supply(0, None), "384MiB: the least there may be"),
        ] {
            assert_eq!(Budget::new(None, &supply).to_string(), told, "{supply:?}");
        }
        assert_eq!((MEMORY_OF_MACHINE_PERCENT, MEMORY_BESIDE_BYTES >> 20), (60, 512));
        let set = Budget::new(Some(1 << 30), &supply(100 * GIB, None));
        assert_eq!(set.to_string(), "1GiB: as set");
    }

    #[test]
    fn a_budget_beyond_what_there_is_is_noticed() {
        let beyond = |set, supply: &Supply| Budget::new(set, supply).beyond(supply);
        let one = GIB as usize;
        assert_eq!(beyond(Some(one), &supply(GIB, None)), None);
        assert_eq!(beyond(Some(one + 1), &supply(GIB, None)), Some((GIB, "of this machine")));
        let container = Some((GIB / 4, "that the container may take"));
        for set in [None, Some(one / 2)] {
            assert_eq!(beyond(set, &supply(GIB, Some(GIB / 4))), container, "{set:?}");
        }
        assert_eq!(beyond(Some(usize::MAX), &supply(0, None)), None);
    }
}
