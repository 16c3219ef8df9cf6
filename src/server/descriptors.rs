//! Descriptors: a chat server is made of them, and stores must never run out.

use rustix::process::{Resource, getrlimit, setrlimit};

use super::config::Config;
use crate::admin;
use crate::model::limits;

/// The soft limit goes up to the hard one, or to the most that we ask for.
pub(super) fn raise() {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = raised(limit.maximum.unwrap_or(u64::MAX));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "the descriptor limit stays as it is");
        }
    }
}

/// How far the soft limit is raised, under this hard one.
pub(super) fn raised(hard: u64) -> u64 {
    hard.min(limits::DESCRIPTORS_MAX)
}

/// Of so many descriptors, those that are left for connections: stores, files and the admin page
/// need the others.
pub(super) fn for_connections(descriptors: u64) -> u64 {
    descriptors.saturating_sub(limits::DESCRIPTOR_RESERVE_MAX.min(descriptors / 4))
}

/// Most connections at a time.
pub(super) fn connections_max(config: &Config) -> usize {
    let possible = usize::try_from(for_connections(admin::descriptors())).unwrap_or(usize::MAX);
    if config.connections == 0 { possible } else { config.connections.min(possible) }
}
