//! One connection of a client: login, frames, request ids, heartbeats.
//!
//! ```text
//! open --Hello, Resume in one flight--> logging in --Welcome--> resuming --Resumed--> open
//!                                           \___________ Closing, silence, fault ______> closed
//! ```
//!
//! Small, since load generators hold tens of thousands: nothing is kept of bytes
//! that ended on a frame's end.

use std::time::Duration;

use prost::DecodeError;
use prost::Message as _;
use prost::encoding::{DecodeContext, decode_key, skip_field};

use super::heard::{EventBytes, Heard};
use crate::frame::{self, BadLength, Header};
use crate::id::{Key, RequestId};
use crate::limits::{FRAME_BYTES_CEILING, FRAME_BYTES_MAX, LOGIN_LIMIT};
use crate::time::Moment;
use crate::wire;
use crate::wire::client_frame::Kind;

/// How long a server may take to answer after the network changed.
const NETWORK_PROBE_LIMIT: Duration = Duration::from_secs(2);
/// Heartbeat and idle limit where Welcome names none, and the least that it may name.
const HEARTBEAT_MS_DEFAULT: u32 = 60_000;
const HEARTBEAT_MS_MIN: u32 = 1_000;
/// Tag byte of `ServerFrame.event`: field 1, length-delimited.
const EVENT_TAG: u8 = 1 << 3 | 2;
/// Below it, `ServerFrame` has only members of its `oneof`.
const FIRST_TAG_BESIDE_KINDS: u32 = 13;

/// The client's end of one connection.
#[derive(Debug)]
pub struct ClientConn {
    /// The beginning of one frame; empty between frames.
    left: Vec<u8>,
    line: Line,
}

/// Everything but the bytes, so that a frame can be borrowed while this changes.
#[derive(Debug)]
struct Line {
    stage: Stage,
    /// `left` holds a frame that was given out and can go.
    spent: bool,
    frame_bytes_max: u32,
    heartbeat_ms: u32,
    idle_ms: u32,
    next_request: u64,
    next_ping: u64,
    opened_at: Moment,
    heard_at: Moment,
    sent_at: Moment,
    /// A probe is under way: the connection is dead unless something is heard until then.
    probe_until: Option<Moment>,
}

const _: () = assert!(size_of::<ClientConn>() <= 136, "tens of thousands are held at once");

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    LoggingIn,
    Resuming,
    Open,
    Closed,
}

/// A request as it goes out.
#[derive(Clone, PartialEq, Debug)]
pub struct Ask {
    /// What is asked.
    pub kind: Kind,
    /// Idempotency key; every mutating request needs one.
    pub key: Option<Key>,
    /// 0 for the first attempt, counted up by each repetition.
    pub attempt: u32,
    /// Not worth starting later than this long after arrival; 0 = no deadline.
    pub deadline_ms: u32,
}

impl Ask {
    /// A first attempt that changes nothing, without a deadline.
    pub fn reading(kind: Kind) -> Self {
        Self { kind, key: None, attempt: 0, deadline_ms: 0 }
    }

    /// An attempt at a change that is carried out once, however often it is asked.
    pub fn changing(kind: Kind, key: Key, attempt: u32) -> Self {
        Self { kind, key: Some(key), attempt, deadline_ms: 0 }
    }
}

/// The server broke the protocol. The connection is of no more use; a new one may be.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Bytes that are no frame.
    #[error("the server sent bytes that are no frame: {0}")]
    Malformed(#[from] DecodeError),
    /// A length that no frame may have.
    #[error("the server sent no frame: {0}")]
    BadLength(#[from] BadLength),
    /// A frame that does not belong here.
    #[error("the server sent {0}")]
    Unexpected(&'static str),
}

/// Why a connection counts as dead though its socket is still open.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Silence {
    /// No Welcome within 10 s.
    #[error("the server did not answer the login")]
    Login,
    /// Nothing for the idle limit of Welcome, or no answer to a probe.
    #[error("the server has been silent for too long")]
    Probe,
}

impl ClientConn {
    /// Begins a connection: puts Hello and Resume into `out`, to be written in one flight.
    ///
    /// The last of `resume` is marked as such; without any, an empty one is sent.
    pub fn open(
        hello: wire::Hello,
        resume: Vec<wire::Resume>,
        now: Moment,
        out: &mut Vec<u8>,
    ) -> Self {
        put(Kind::Hello(hello), out);
        let mut resume = if resume.is_empty() { vec![wire::Resume::default()] } else { resume };
        let last = resume.len() - 1;
        for (at, mut frame) in resume.drain(..).enumerate() {
            frame.last = at == last;
            put(Kind::Resume(frame), out);
        }
        let line = Line {
            stage: Stage::LoggingIn,
            spent: false,
            frame_bytes_max: FRAME_BYTES_MAX,
            heartbeat_ms: HEARTBEAT_MS_DEFAULT,
            idle_ms: HEARTBEAT_MS_DEFAULT * 5 / 2,
            next_request: 1,
            next_ping: 1,
            opened_at: now,
            heard_at: now,
            sent_at: now,
            probe_until: None,
        };
        Self { left: Vec::new(), line }
    }

    /// The next thing said in what came in: call until `None`, then read more.
    ///
    /// Takes from the front of `input` and keeps what is no whole frame yet.
    ///
    /// # Errors
    /// [`Fault`]: the server broke the protocol; drop the connection.
    pub fn next<'a, 'input: 'a>(
        &'a mut self,
        input: &mut &'input [u8],
        now: Moment,
    ) -> Result<Option<Heard<'a>>, Fault> {
        if !input.is_empty() {
            self.line.heard_at = now;
            self.line.probe_until = None;
        }
        if std::mem::take(&mut self.line.spent) {
            self.left = Vec::new();
        }
        match self.find(input)? {
            Found::Nothing => Ok(None),
            Found::Input(frame) => self.line.heard(frame).map(Some),
            Found::Left { from } => {
                self.line.spent = true;
                self.line.heard(&self.left[from..]).map(Some)
            }
        }
    }

    /// Puts a request into `out` and names it.
    pub fn ask(&mut self, ask: Ask, now: Moment, out: &mut Vec<u8>) -> RequestId {
        let id = self.line.next_request;
        self.line.next_request += 1;
        self.line.sent_at = now;
        let frame = wire::ClientFrame {
            kind: Some(ask.kind),
            id,
            key: ask
                .key
                .map(|key| bytes::Bytes::copy_from_slice(key.as_bytes()))
                .unwrap_or_default(),
            deadline_ms: ask.deadline_ms,
            attempt: ask.attempt,
            ..Default::default()
        };
        put_frame(&frame, out);
        RequestId::new(id)
    }

    /// Says that the answer to `id` is no longer wanted.
    pub fn cancel(&mut self, id: RequestId, now: Moment, out: &mut Vec<u8>) {
        self.line.sent_at = now;
        put(Kind::Cancel(wire::Cancel { id: id.get() }), out);
    }

    /// Answers the server's ping. `unix_ms`: this end's clock, milliseconds since 1970.
    pub fn pong(&mut self, ping: u64, unix_ms: u64, now: Moment, out: &mut Vec<u8>) {
        self.line.sent_at = now;
        put(Kind::Pong(wire::Pong { id: ping, time_ms: unix_ms }), out);
    }

    /// The network under the connection changed: it has 2 s to prove that it is alive.
    pub fn network_changed(&mut self, now: Moment, out: &mut Vec<u8>) {
        if matches!(self.line.stage, Stage::Resuming | Stage::Open) {
            self.line.probe(now.plus(NETWORK_PROBE_LIMIT), now, out);
        }
    }

    /// Does what is due: probes, keeps alive. Harmless when nothing is.
    ///
    /// # Errors
    /// [`Silence`]: the connection is dead; drop it and make a new one.
    pub fn handle_timeout(&mut self, now: Moment, out: &mut Vec<u8>) -> Result<(), Silence> {
        self.line.handle_timeout(now, out)
    }

    /// When to call [`ClientConn::handle_timeout`]. `None`: never, the connection is closed.
    pub fn poll_timeout(&self) -> Option<Moment> {
        self.line.poll_timeout()
    }

    /// Welcome was heard: requests may be sent.
    pub fn is_welcome(&self) -> bool {
        matches!(self.line.stage, Stage::Resuming | Stage::Open)
    }

    /// Resumed was heard: whatever comes now is live.
    pub fn is_open(&self) -> bool {
        self.line.stage == Stage::Open
    }

    /// Bytes held between calls; 0 whenever the input ended on a frame's end.
    pub fn held_bytes(&self) -> usize {
        self.left.capacity()
    }

    fn find<'i>(&mut self, input: &mut &'i [u8]) -> Result<Found<'i>, Fault> {
        loop {
            if self.line.stage == Stage::Closed {
                *input = &[];
                return Ok(Found::Nothing);
            }
            if self.left.is_empty() {
                let Some(header) = self.line.header(input)? else {
                    self.left.extend_from_slice(input);
                    *input = &[];
                    return Ok(Found::Nothing);
                };
                let end = header.length_bytes + header.body_bytes;
                if let Some(frame) = input.get(header.length_bytes..end) {
                    *input = &input[end..];
                    if frame.is_empty() {
                        continue;
                    }
                    return Ok(Found::Input(frame));
                }
                self.left.extend_from_slice(input);
                *input = &[];
                return Ok(Found::Nothing);
            }
            match self.line.header(&self.left)? {
                None => match input.split_first() {
                    None => return Ok(Found::Nothing),
                    Some((byte, rest)) => {
                        self.left.push(*byte);
                        *input = rest;
                    }
                },
                Some(Header { length_bytes, body_bytes }) => {
                    let end = length_bytes + body_bytes;
                    let missing = end.saturating_sub(self.left.len());
                    let (taken, rest) = input.split_at(missing.min(input.len()));
                    self.left.extend_from_slice(taken);
                    *input = rest;
                    if taken.len() < missing {
                        return Ok(Found::Nothing);
                    }
                    return Ok(Found::Left { from: length_bytes });
                }
            }
        }
    }
}

/// Where a whole frame was found.
enum Found<'i> {
    Nothing,
    Input(&'i [u8]),
    Left { from: usize },
}

impl Line {
    fn header(&self, bytes: &[u8]) -> Result<Option<Header>, Fault> {
        Ok(frame::header(bytes, self.frame_bytes_max)?)
    }

    fn heard<'a>(&mut self, body: &'a [u8]) -> Result<Heard<'a>, Fault> {
        let heard = match event_of(body)? {
            Some(event) => Heard::Event(event),
            None => Heard::of(wire::ServerFrame::decode(body)?),
        };
        self.step(&heard)?;
        Ok(heard)
    }

    /// What a frame means for the connection itself, and whether it may come now.
    fn step(&mut self, heard: &Heard<'_>) -> Result<(), Fault> {
        match (heard, self.stage) {
            (Heard::Closing(_), _) => self.stage = Stage::Closed,
            (Heard::Welcome(welcome), Stage::LoggingIn) => {
                self.stage = Stage::Resuming;
                self.agree(welcome);
            }
            (Heard::Welcome(_), _) => return Err(Fault::Unexpected("a second Welcome")),
            (Heard::Ping(_) | Heard::Pong(_) | Heard::Unknown(_), _) => {}
            (_, Stage::LoggingIn) => return Err(Fault::Unexpected("a frame before Welcome")),
            (Heard::Resumed { .. }, Stage::Resuming) => self.stage = Stage::Open,
            (Heard::Resumed { .. }, _) => return Err(Fault::Unexpected("a second Resumed")),
            _ => {}
        }
        Ok(())
    }

    fn agree(&mut self, welcome: &wire::Welcome) {
        let or_default = |ms: u32, default| if ms == 0 { default } else { ms };
        self.heartbeat_ms =
            or_default(welcome.heartbeat_ms, HEARTBEAT_MS_DEFAULT).max(HEARTBEAT_MS_MIN);
        // A server that gives no room for one late timer would be left again and again.
        self.idle_ms = or_default(welcome.idle_limit_ms, self.heartbeat_ms.saturating_mul(5) / 2)
            .max(self.heartbeat_ms.saturating_mul(2));
        let frame_bytes = welcome.limits.as_ref().map_or(0, |limits| limits.frame_bytes);
        self.frame_bytes_max = frame_bytes.clamp(FRAME_BYTES_MAX, FRAME_BYTES_CEILING);
    }

    fn probe(&mut self, until: Moment, now: Moment, out: &mut Vec<u8>) {
        put(Kind::Ping(wire::Ping { id: self.next_ping }), out);
        self.next_ping += 1;
        self.sent_at = now;
        self.probe_until = Some(self.probe_until.map_or(until, |earlier| earlier.min(until)));
    }

    fn handle_timeout(&mut self, now: Moment, out: &mut Vec<u8>) -> Result<(), Silence> {
        match self.stage {
            Stage::Closed => return Ok(()),
            Stage::LoggingIn if now < self.opened_at.plus(LOGIN_LIMIT) => return Ok(()),
            Stage::LoggingIn => return Err(Silence::Login),
            Stage::Resuming | Stage::Open => {}
        }
        if self.probe_until.is_some_and(|until| now >= until) || now >= self.idle_at() {
            return Err(Silence::Probe);
        }
        if self.probe_until.is_none() && now >= self.heard_at.plus(self.heartbeat()) {
            self.probe(self.idle_at(), now, out);
        } else if now >= self.sent_at.plus(self.heartbeat()) {
            out.push(0);
            self.sent_at = now;
        }
        Ok(())
    }

    fn poll_timeout(&self) -> Option<Moment> {
        match self.stage {
            Stage::Closed => None,
            Stage::LoggingIn => Some(self.opened_at.plus(LOGIN_LIMIT)),
            Stage::Resuming | Stage::Open => {
                let heartbeat = self.heartbeat();
                let unheard = self.probe_until.unwrap_or_else(|| self.heard_at.plus(heartbeat));
                Some(unheard.min(self.sent_at.plus(heartbeat)))
            }
        }
    }

    fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms.into())
    }

    fn idle_at(&self) -> Moment {
        self.heard_at.plus(Duration::from_millis(self.idle_ms.into()))
    }
}

/// The event in `frame`, in place. `None`: the frame is something else.
fn event_of(frame: &[u8]) -> Result<Option<EventBytes<'_>>, DecodeError> {
    let Some((&EVENT_TAG, mut rest)) = frame.split_first() else { return Ok(None) };
    let length = prost::encoding::decode_varint(&mut rest)?;
    let Some((event, mut beside)) =
        usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length))
    else {
        return Ok(None);
    };
    // Fields that a later version puts beside the event are stepped over.
    while !beside.is_empty() {
        let (tag, kind) = decode_key(&mut beside)?;
        if tag < FIRST_TAG_BESIDE_KINDS {
            return Ok(None);
        }
        skip_field(kind, tag, &mut beside, DecodeContext::default())?;
    }
    EventBytes::parse(event).map(Some)
}

fn put(kind: Kind, out: &mut Vec<u8>) {
    put_frame(&wire::ClientFrame { kind: Some(kind), ..Default::default() }, out);
}

fn put_frame(frame: &wire::ClientFrame, out: &mut Vec<u8>) {
    let length = frame.encoded_len();
    out.reserve(prost::length_delimiter_len(length) + length);
    prost::encoding::encode_varint(length as u64, out);
    frame.encode_raw(out);
}

#[cfg(test)]
#[path = "conn_tests.rs"]
mod tests;
