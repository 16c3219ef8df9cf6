//! What a device is told once it is in: who it is, and what it must keep to.

use damso_proto::wire;

use super::login::VERSION;
use super::shard::Shard;
use crate::model::limits::{self, Limits};

impl Shard {
    /// What a device is told once it is in.
    pub(super) fn welcome(&self, user: u64, uid: &str, token_expires_ms: u64) -> wire::Welcome {
        let mut session = [0; 16];
        self.random().fill(&mut session);
        wire::Welcome {
            version: VERSION,
            user,
            uid: uid.to_owned(),
            session: bytes::Bytes::copy_from_slice(&session),
            server_time_ms: self.floors().clock.unix_ms(),
            epoch: self.floors().log.epoch().get(),
            limits: Some(told_limits(&self.floors().limits)),
            heartbeat_ms: limits::millis(self.options().conn.probe_after),
            idle_limit_ms: limits::millis(self.options().conn.idle_limit),
            dedupe_window_ms: limits::millis_long(limits::KEY_WINDOW),
            features: Vec::new(),
            token_expires_ms,
            alternates: self.options().alternates.clone(),
            server: self.options().server.clone(),
            device_proof: bytes::Bytes::new(),
        }
    }
}

/// What a client is told to keep to.
fn told_limits(limits: &Limits) -> wire::Limits {
    let told = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
    wire::Limits {
        frame_bytes: damso_proto::limits::FRAME_BYTES_MAX,
        text_bytes: told(limits::TEXT_BYTES_MAX),
        requests_in_flight: damso_proto::limits::REQUESTS_IN_FLIGHT_MAX.into(),
        page_rows: told(limits.page_rows),
        page_bytes: told(limits.page_bytes),
        cursors_per_frame: told(limits::RESUME_CURSORS_PER_FRAME_MAX),
        group_members: told(limits.group_members),
        members_per_page: told(limits::MEMBERS_PER_PAGE_MAX),
        channels_per_user: told(limits.channels_per_user),
    }
}
