//! Looks how much memory the process has, a few times a second, on a thread of its own, and says
//! how short of it the server is.

use std::sync::Arc;
use std::{io, thread};

use metrics::gauge;

use super::config::Budget;
use crate::model::limits;
use crate::model::memory::{Ladder, Level, Memory};
use crate::runtime::clock::Clock;
use crate::runtime::door::Threads;
use crate::runtime::memory::Resident;
use crate::runtime::shutdown::{Phase, Watch};

/// Begins to look. While memory is short, what idle threads of the door keep is given back. The
/// thread ends with the server, within one look.
///
/// # Errors
/// The operating system gives no thread.
pub(super) fn watch(
    budget: Budget,
    memory: Memory,
    (clock, door): (Arc<dyn Clock>, Threads),
    shutdown: Watch,
) -> io::Result<()> {
    tracing::info!(%budget, "memory is watched");
    gauge!("damso_memory_budget_bytes").set(budget.bytes as f64);
    let mut ladder = Ladder::new(budget.bytes);
    let mut look = move || {
        let Some(Resident { own, .. }) = Resident::now() else { return false };
        let level = ladder.look(own, clock.now());
        gauge!("damso_memory_used_bytes").set(own as f64);
        gauge!("damso_memory_level").set(f64::from(level.number()));
        tell(memory.level(), level, own, budget.bytes);
        memory.set(level);
        if level > Level::Free {
            door.renew();
        }
        true
    };
    let watching = move || {
        while shutdown.phase() != Phase::Stopped {
            if !look() {
                return tracing::error!("cannot read /proc/self/statm: memory is not watched");
            }
            thread::sleep(limits::MEMORY_LOOK);
        }
    };
    // Not joined: it has nothing to finish.
    thread::Builder::new().name("memory".to_owned()).spawn(watching).map(drop)
}

fn tell(before: Level, level: Level, used: u64, budget: u64) {
    let (used_mib, budget_mib, level_name) = (used >> 20, budget >> 20, level.name());
    if level > before {
        let without = match level {
            Level::Free => "nothing",
            Level::Tight => "new logins",
            Level::Scarce => "new logins, and unsent events for readers who lag",
            Level::Full => "new logins, unsent events for readers who lag, and new messages",
        };
        tracing::warn!(
            level = level_name,
            used_mib,
            budget_mib,
            "memory is short: without {without}"
        );
    } else if level < before {
        tracing::info!(level = level_name, used_mib, budget_mib, "memory is less short");
    }
}
