//! One connection's states: what may be said when, requests in flight, silence.
//!
//! ```text
//! greeting --Hello--> logging in --accept()--> resuming --Resume{last}--> open
//!     \                  |                         |                        |
//!      \_________________|_______ fault, silence __|________________________|__> closed
//! ```

use std::time::Duration;

use prost::DecodeError;
use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint};

use super::conn::ServerOptions;
use super::said::{Due, Fault, Request, Said};
use crate::code::CloseCode;
use crate::id::{Key, RequestId};
use crate::limits;
use crate::time::Moment;
use crate::wire;
use crate::wire::client_frame::Kind;

/// Tag of `ClientFrame.key`.
const KEY_TAG: u32 = 14;
/// Never: nothing is waited for.
pub(super) const NEVER: Moment = Moment::from_micros(u64::MAX);

/// Everything but the bytes, so that a frame can be borrowed while this changes.
#[derive(Debug)]
pub(super) struct Line {
    /// While open: when something was last heard. Before: when the stage began.
    since: Moment,
    next_probe: u64,
    login_ms: u32,
    probe_ms: u32,
    idle_ms: u32,
    frame_bytes_max: u32,
    in_flight: u16,
    in_flight_max: u16,
    resume_frames: u8,
    stage: Stage,
    /// A probe went out in this silence.
    probed: bool,
    /// The caller does not read.
    held: bool,
    /// Reading was paused since something was last heard.
    stood_still: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Greeting,
    LoggingIn,
    Resuming,
    Open,
    Closed,
}

impl Stage {
    /// The picture above.
    const fn leads_to(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Greeting, Self::LoggingIn)
                | (Self::LoggingIn, Self::Resuming)
                | (Self::Resuming, Self::Open)
                | (_, Self::Closed)
        )
    }
}

impl Line {
    pub(super) fn new(options: ServerOptions, now: Moment) -> Self {
        let ms = |limit: Duration| u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        Self {
            since: now,
            next_probe: 1,
            login_ms: ms(options.login_limit),
            probe_ms: ms(options.probe_after),
            idle_ms: ms(options.idle_limit),
            frame_bytes_max: options
                .frame_bytes_max
                .clamp(limits::FRAME_BYTES_MAX, limits::FRAME_BYTES_CEILING),
            in_flight: 0,
            in_flight_max: options.requests_in_flight_max.max(1),
            resume_frames: 0,
            stage: Stage::Greeting,
            probed: false,
            held: false,
            stood_still: false,
        }
    }

    pub(super) fn accept(&mut self, now: Moment) {
        if self.stage == Stage::LoggingIn {
            self.enter(Stage::Resuming, now);
        }
    }

    pub(super) fn close(&mut self) {
        self.enter(Stage::Closed, self.since);
    }

    pub(super) fn answered(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub(super) fn hold(&mut self, held: bool) {
        self.held = held;
        self.stand_still();
    }

    /// From here to the next [`Line::go_on`] the client cannot be heard.
    pub(super) fn stand_still(&mut self) {
        self.stood_still = true;
    }

    /// Reading goes on: the silence of a pause was not the client's.
    pub(super) fn go_on(&mut self, now: Moment) {
        if self.stood_still && !self.is_full() && !self.held {
            self.stood_still = false;
            if self.stage == Stage::Open {
                self.heard(now);
            }
        }
    }

    /// What a frame says, and whether it may be said now. `None`: nothing that concerns anyone.
    pub(super) fn said(&mut self, frame: &[u8], now: Moment) -> Result<Option<Said>, Fault> {
        // Whole frames count, not bytes: a frame that dribbles in may not be kept for ever.
        if self.stage == Stage::Open {
            self.heard(now);
        }
        if frame.is_empty() {
            return Ok(Some(Said::KeepAlive));
        }
        let (frame, key) = decode(frame)?;
        match self.stage {
            Stage::Greeting => self.greeting(frame, now).map(Some),
            Stage::Resuming => self.resuming(frame, now).map(Some),
            Stage::Open => self.open(frame, key),
            Stage::LoggingIn | Stage::Closed => Ok(None),
        }
    }

    /// What the silence calls for by now.
    pub(super) fn handle_timeout(&mut self, now: Moment) -> Option<Due> {
        self.go_on(now);
        if now < self.poll_timeout() {
            return None;
        }
        if self.stage != Stage::Open {
            self.close();
            return Some(Due::Close(CloseCode::LoginLate));
        }
        if now >= self.since.plus(ms(self.idle_ms)) {
            self.close();
            return Some(Due::Close(CloseCode::Idle));
        }
        self.probed = true;
        let id = self.next_probe;
        self.next_probe += 1;
        Some(Due::Probe(id))
    }

    pub(super) fn poll_timeout(&self) -> Moment {
        let wait = match self.stage {
            // While logging in it is the server that is waited for.
            Stage::LoggingIn | Stage::Closed => return NEVER,
            Stage::Open if self.is_full() || self.held => return NEVER,
            Stage::Greeting | Stage::Resuming => self.login_ms,
            Stage::Open if self.probed => self.idle_ms,
            Stage::Open => self.probe_ms.min(self.idle_ms),
        };
        self.since.plus(ms(wait))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.stage == Stage::Closed
    }

    pub(super) fn is_logging_in(&self) -> bool {
        self.stage == Stage::LoggingIn
    }

    pub(super) fn is_full(&self) -> bool {
        self.stage == Stage::Open && self.in_flight >= self.in_flight_max
    }

    pub(super) fn may_read(&self) -> bool {
        self.stage != Stage::LoggingIn && !self.is_full()
    }

    pub(super) fn frame_max(&self) -> u32 {
        match self.stage {
            Stage::Greeting | Stage::LoggingIn => limits::FRAME_BEFORE_LOGIN_BYTES_MAX,
            Stage::Resuming | Stage::Open | Stage::Closed => self.frame_bytes_max,
        }
    }

    fn enter(&mut self, next: Stage, now: Moment) {
        debug_assert!(self.stage.leads_to(next), "{:?} does not lead to {next:?}", self.stage);
        self.stage = next;
        self.since = now;
        self.stood_still = false;
    }

    fn heard(&mut self, now: Moment) {
        self.since = now;
        self.probed = false;
    }

    fn greeting(&mut self, frame: wire::ClientFrame, now: Moment) -> Result<Said, Fault> {
        let Some(Kind::Hello(hello)) = frame.kind else {
            return Err(Fault::Unexpected("a frame before Hello"));
        };
        self.enter(Stage::LoggingIn, now);
        Ok(Said::Hello(Box::new(hello)))
    }

    fn resuming(&mut self, frame: wire::ClientFrame, now: Moment) -> Result<Said, Fault> {
        match frame.kind {
            Some(Kind::Resume(resume)) => {
                check(&resume)?;
                self.resume_frames += 1;
                if resume.last {
                    self.enter(Stage::Open, now);
                } else if self.resume_frames == limits::RESUME_FRAMES_MAX {
                    return Err(Fault::Unexpected("too many Resume frames"));
                }
                Ok(Said::Resume(resume))
            }
            Some(Kind::Ping(ping)) => Ok(Said::Ping(ping.id)),
            Some(Kind::Pong(pong)) => Ok(Said::Pong { id: pong.id, time_ms: pong.time_ms }),
            _ => Err(Fault::Unexpected("a frame before the last Resume")),
        }
    }

    fn open(&mut self, frame: wire::ClientFrame, key: Option<Key>) -> Result<Option<Said>, Fault> {
        let id = RequestId::new(frame.id);
        let kind = match frame.kind {
            Some(Kind::Ping(ping)) => return Ok(Some(Said::Ping(ping.id))),
            Some(Kind::Pong(pong)) => {
                return Ok(Some(Said::Pong { id: pong.id, time_ms: pong.time_ms }));
            }
            Some(Kind::Cancel(cancel)) => return Ok(Some(Said::Cancel(RequestId::new(cancel.id)))),
            Some(Kind::Hello(_)) => return Err(Fault::Unexpected("a second Hello")),
            Some(Kind::Resume(_)) => return Err(Fault::Unexpected("a Resume after the last")),
            None if frame.id == 0 => return Ok(None),
            None => {
                self.in_flight += 1;
                return Ok(Some(Said::Unknown(id)));
            }
            Some(kind) => kind,
        };
        if frame.id == 0 {
            return Err(Fault::Unexpected("a request without an id"));
        }
        self.in_flight += 1;
        let fits = frame.traceparent.len() <= limits::TRACEPARENT_BYTES_MAX;
        Ok(Some(Said::Request(Request {
            id,
            key,
            deadline_ms: frame.deadline_ms,
            attempt: frame.attempt,
            traceparent: if fits { frame.traceparent } else { String::new() },
            kind,
        })))
    }
}

fn ms(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

/// Reads a frame; its key without an allocation for 16 bytes.
pub(super) fn decode(mut bytes: &[u8]) -> Result<(wire::ClientFrame, Option<Key>), DecodeError> {
    let mut frame = wire::ClientFrame::default();
    let mut key = None;
    while !bytes.is_empty() {
        let (tag, wire_type) = decode_key(&mut bytes)?;
        if (tag, wire_type) == (KEY_TAG, WireType::LengthDelimited) {
            let mut ahead = bytes;
            let length = decode_varint(&mut ahead)?;
            let split = usize::try_from(length).ok().and_then(|at| ahead.split_at_checked(at));
            if let Some((field, rest)) = split {
                key = Key::parse(field);
                bytes = rest;
                continue;
            }
            // The library words the error.
        }
        frame.merge_field(tag, wire_type, &mut bytes, DecodeContext::default())?;
    }
    Ok((frame, key))
}

/// What the session need not check again.
fn check(resume: &wire::Resume) -> Result<(), Fault> {
    if resume.channel_delta.len() != resume.seq.len() {
        return Err(Fault::Unexpected("a Resume whose channels and seqs are not as many"));
    }
    if resume.seq.len() > limits::RESUME_CURSORS_PER_FRAME_MAX {
        return Err(Fault::Unexpected("a Resume with too many cursors"));
    }
    if resume.pending.len() > limits::RESUME_PENDING_PER_FRAME_MAX {
        return Err(Fault::Unexpected("a Resume with too many pending sends"));
    }
    let rising = |channel: u64, delta: &u64| (*delta > 0).then(|| channel.checked_add(*delta))?;
    match resume.channel_delta.iter().try_fold(0, rising) {
        Some(_) => Ok(()),
        None => Err(Fault::Unexpected("a Resume whose channels do not rise")),
    }
}
