//! What a shard counts of its sessions. Handles are registered once; labels come from closed sets.

use std::time::Duration;

use hashbrown::HashMap;
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::delivery::{self, Answer, Pace};
use crate::requests::Refusal;
use crate::runtime::route::ShardNo;

pub(super) struct Metrics {
    opened: Counter,
    ended: Counter,
    sessions: Gauge,
    people: Gauge,
    channels: Gauge,
    budgets: Gauge,
    commands: Gauge,
    mail: Gauge,
    blocking: Gauge,
    logins: Gauge,
    bytes_received: Counter,
    acknowledged: Counter,
    duplicates: Counter,
    queued: Histogram,
    committed: Histogram,
    turns: Counter,
    held_back: Counter,
    unsent_oldest: Gauge,
    control_full: Counter,
    refusals_held: Counter,
    requests: std::cell::RefCell<HashMap<&'static str, Counter>>,
    refusals: std::cell::RefCell<HashMap<&'static str, Counter>>,
    closes: std::cell::RefCell<HashMap<&'static str, Counter>>,
}

/// How much a shard keeps, table by table: what comes and goes must leave each as it was.
pub(super) struct Kept {
    pub(super) sessions: usize,
    pub(super) people: usize,
    pub(super) channels: usize,
    /// People whose budgets are not whole.
    pub(super) budgets: usize,
    /// Handlers that wait for a channel's owner.
    pub(super) commands: usize,
    /// Items in the mailbox.
    pub(super) mail: usize,
    /// Blocking work that waits for a thread, of all shards together.
    pub(super) blocking: usize,
    /// Steps of logins that wait for a turn.
    pub(super) logins: usize,
}

impl Metrics {
    pub(super) fn new(shard: ShardNo) -> Self {
        let shard = shard.index().to_string();
        let counter = |name: &'static str| counter!(name, "shard" => shard.clone());
        let gauge = |name: &'static str| gauge!(name, "shard" => shard.clone());
        Self {
            opened: counter("damso_sessions_opened_total"),
            ended: counter("damso_sessions_ended_total"),
            sessions: gauge("damso_sessions"),
            people: gauge("damso_people_online"),
            channels: gauge("damso_channels_owned"),
            budgets: gauge("damso_budgets"),
            commands: gauge("damso_commands_waiting"),
            mail: gauge("damso_mailbox_items"),
            blocking: gauge!("damso_blocking_waiting"),
            logins: gauge("damso_login_steps_waiting"),
            bytes_received: counter("damso_received_bytes_total"),
            acknowledged: counter("damso_messages_acknowledged_total"),
            duplicates: counter("damso_messages_duplicate_total"),
            queued: histogram!("damso_send_queue_seconds"),
            committed: histogram!("damso_send_commit_seconds"),
            turns: counter("damso_shard_turns_total"),
            held_back: counter("damso_admission_held_back_turns_total"),
            unsent_oldest: gauge("damso_unsent_oldest_seconds"),
            control_full: counter("damso_control_lane_full_total"),
            refusals_held: counter("damso_requests_held_total"),
            requests: Default::default(),
            refusals: Default::default(),
            closes: Default::default(),
        }
    }

    pub(super) fn opened(&self) {
        self.opened.increment(1);
    }

    pub(super) fn ended(&self) {
        self.ended.increment(1);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.bytes_received.increment(bytes as u64);
    }

    pub(super) fn gauges(&self, kept: &Kept) {
        self.sessions.set(kept.sessions as f64);
        self.people.set(kept.people as f64);
        self.channels.set(kept.channels as f64);
        self.budgets.set(kept.budgets as f64);
        self.commands.set(kept.commands as f64);
        self.mail.set(kept.mail as f64);
        self.blocking.set(kept.blocking as f64);
        self.logins.set(kept.logins as f64);
    }

    pub(super) fn turn(&self, unsent_oldest: Duration) {
        self.turns.increment(1);
        self.unsent_oldest.set(unsent_oldest.as_secs_f64());
    }

    pub(super) fn held_back(&self) {
        self.held_back.increment(1);
    }

    pub(super) fn control_full(&self) {
        self.control_full.increment(1);
    }

    pub(super) fn held(&self) {
        self.refusals_held.increment(1);
    }

    pub(super) fn acknowledged(&self, answer: &Answer) {
        let Answer::Sent { duplicate, queued, committed, .. } = answer else { return };
        if *duplicate {
            return self.duplicates.increment(1);
        }
        self.acknowledged.increment(1);
        self.queued.record(queued.as_secs_f64());
        self.committed.record(committed.as_secs_f64());
    }

    pub(super) fn requested(&self, name: &'static str) {
        count(&self.requests, "damso_requests_total", "kind", name);
    }

    pub(super) fn refused(&self, refusal: &delivery::Refusal) {
        let reason = match refusal {
            delivery::Refusal::NotFound => "not_found",
            delivery::Refusal::NotAllowed => "not_allowed",
            delivery::Refusal::Muted { .. } => "muted",
            delivery::Refusal::Banned => "banned",
            delivery::Refusal::Blocked | delivery::Refusal::BlockedBy(_) => "blocked",
            delivery::Refusal::KeyReused => "key_reused",
            delivery::Refusal::Invalid(_) => "invalid",
            delivery::Refusal::Limit(_) => "limit",
            delivery::Refusal::Deadline => "deadline",
            delivery::Refusal::TooOften { whose: Pace::Person, .. } => "rate_user",
            delivery::Refusal::TooOften { whose: Pace::Channel, .. } => "rate_channel",
            delivery::Refusal::Overloaded { .. } => "overloaded",
            delivery::Refusal::Unavailable { .. } => "unavailable",
            delivery::Refusal::OutcomeUnknown => "outcome_unknown",
        };
        count(&self.refusals, "damso_requests_refused_total", "reason", reason);
    }

    pub(super) fn turned_away(&self, refusal: &Refusal) {
        let reason = match refusal {
            Refusal::Delivery(refusal) => return self.refused(refusal),
            Refusal::Invalid(_) => "invalid",
            Refusal::KeyMissing => "key_missing",
            Refusal::KeyExpired => "key_expired",
            Refusal::KeyInFuture => "key_in_future",
            Refusal::Blocked { .. } => "blocked",
            Refusal::Unknown => "unknown_request",
            Refusal::Directory(_) => "directory",
            Refusal::Store(_) => "store",
        };
        count(&self.refusals, "damso_requests_refused_total", "reason", reason);
    }

    pub(super) fn closed(&self, reason: &'static str) {
        count(&self.closes, "damso_connections_closed_total", "reason", reason);
    }
}

/// Counts under a label from a closed set; the handle is made at its first use.
fn count(
    handles: &std::cell::RefCell<HashMap<&'static str, Counter>>,
    name: &'static str,
    label: &'static str,
    value: &'static str,
) {
    let mut handles = handles.borrow_mut();
    handles.entry(value).or_insert_with(|| counter!(name, label => value)).increment(1);
}
