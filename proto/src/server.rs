//! One connection of a server: what its client may say when, and when it has been silent too long.
//!
//! ```text
//! greeting --Hello--> logging in --accept()--> resuming --Resume{last}--> open
//!     \                  | bytes wait unparsed     |                        |
//!      \_________________|_______ fault, silence __|________________________|__> closed
//! ```
//!
//! Tens of thousands are held at once: nothing is kept of input that ended on a frame's end.

use std::time::Duration;

use prost::DecodeError;
use prost::Message as _;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint};

use crate::code::CloseCode;
use crate::frame::{self, BadLength};
use crate::id::{Key, RequestId};
use crate::limits;
use crate::time::Moment;
use crate::wire;
use crate::wire::client_frame::Kind;

/// Tag of `ClientFrame.key`.
const KEY_TAG: u32 = 14;
/// Never: nothing is waited for.
const NEVER: Moment = Moment::from_micros(u64::MAX);

/// What a server grants its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerOptions {
    /// Longest frame after login, bytes; told in Welcome.
    pub frame_bytes_max: u32,
    /// Requests not answered yet with which reading stops; told in Welcome.
    pub requests_in_flight_max: u16,
    /// How long a client may take to its Hello.
    pub login_limit: Duration,
    /// How long a client may be silent before it is asked whether it is there.
    pub probe_after: Duration,
    /// How long a client may be silent before it counts as gone; told in Welcome.
    pub idle_limit: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            frame_bytes_max: limits::FRAME_BYTES_MAX,
            requests_in_flight_max: limits::REQUESTS_IN_FLIGHT_MAX,
            login_limit: limits::LOGIN_LIMIT,
            probe_after: limits::PROBE_AFTER,
            idle_limit: limits::IDLE_LIMIT,
        }
    }
}

/// The server's end of one connection.
#[derive(Debug)]
pub struct ServerConn {
    /// Input that came but could not be read yet; no allocation while there is none.
    left: Vec<u8>,
    /// So much of `left` has been read.
    left_read: usize,
    line: Line,
}

const _: () = assert!(size_of::<ServerConn>() <= 120, "tens of thousands are held at once");

/// Everything but the bytes, so that a frame can be borrowed while this changes.
#[derive(Debug)]
struct Line {
    /// When something was last heard; while greeting, when the connection was made.
    heard_at: Moment,
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
    /// Reading was paused since something was last heard: that silence is not the client's.
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

/// Something that a client said.
#[derive(Debug)]
pub enum Said {
    /// Who it is. Nothing else is said until [`ServerConn::accept`].
    Hello(Box<wire::Hello>),
    /// What it already has: as many cursors as channels, and none too many.
    Resume(wire::Resume),
    /// To be answered, then [`ServerConn::answered`].
    Request(Request),
    /// A request of a kind made after this server. To be refused, then [`ServerConn::answered`].
    Unknown(RequestId),
    /// To be answered with Pong of the same id.
    Ping(u64),
    /// The answer to a probe.
    Pong {
        /// The probe's.
        id: u64,
        /// The client's clock, milliseconds since 1970.
        time_ms: u64,
    },
    /// The answer to this request is no longer wanted.
    Cancel(RequestId),
    /// That it is still there.
    KeepAlive,
}

/// A request, checked for nothing but its form.
#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    /// The client's name for it; never 0.
    pub id: RequestId,
    /// `None`: none was sent, or what was sent is no UUIDv7.
    pub key: Option<Key>,
    /// Not worth starting later than this long after arrival; 0 = no deadline.
    pub deadline_ms: u32,
    /// 0 for the first attempt, counted up by each repetition.
    pub attempt: u32,
    /// W3C trace context as it came; may be empty, may be nonsense.
    pub traceparent: String,
    /// What is asked: any kind but Hello, Resume, Ping, Pong and Cancel.
    pub kind: Kind,
}

/// What a silence calls for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Send Ping with this id.
    Probe(u64),
    /// Send Closing with this code, and go.
    Close(CloseCode),
}

/// The client broke the protocol: the connection ends.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Bytes that are no frame.
    #[error("the client sent a frame that cannot be read: {0}")]
    Malformed(#[from] DecodeError),
    /// A length that no frame may have.
    #[error(transparent)]
    Length(#[from] BadLength),
    /// A frame that may not stand here.
    #[error("the client sent {0}")]
    Unexpected(&'static str),
    /// Input came although reading was to stop.
    #[error("{bytes} bytes came that may not be read yet")]
    Unread {
        /// How much would have had to be kept.
        bytes: usize,
    },
}

impl Fault {
    /// With what to close.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::Length(BadLength::TooLarge { .. }) => CloseCode::FrameTooLarge,
            _ => CloseCode::Malformed,
        }
    }
}

impl ServerConn {
    /// A connection that was just made: a Hello is awaited.
    pub fn new(options: ServerOptions, now: Moment) -> Self {
        let ms = |limit: Duration| u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        let line = Line {
            heard_at: now,
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
            stood_still: false,
        };
        Self { left: Vec::new(), left_read: 0, line }
    }

    /// The next thing said: call until `None`. Then all of `input` has been taken.
    ///
    /// `None` while [`ServerConn::is_paused`] holds too: what came is kept, and once the
    /// pause is over a call without input goes on with it.
    ///
    /// # Errors
    /// [`Fault`]: the client broke the protocol. Nothing is heard from then on.
    pub fn next(&mut self, input: &mut &[u8], now: Moment) -> Result<Option<Said>, Fault> {
        self.line.heard(!input.is_empty(), now);
        let said = self.read(input);
        if said.is_err() {
            self.line.stage = Stage::Closed;
        }
        if self.line.stage == Stage::Closed {
            *input = &[];
            self.left = Vec::new();
            self.left_read = 0;
        }
        said
    }

    /// The login is accepted: Resume frames may come.
    pub fn accept(&mut self, now: Moment) {
        if self.line.stage == Stage::LoggingIn {
            self.line.stage = Stage::Resuming;
            self.line.heard_at = now;
        }
    }

    /// The answer to one request was written.
    pub fn answered(&mut self) {
        self.line.in_flight = self.line.in_flight.saturating_sub(1);
    }

    /// Does what is due. Harmless when nothing is; call until `None`.
    pub fn handle_timeout(&mut self, now: Moment) -> Option<Due> {
        if self.is_paused() {
            return None;
        }
        self.line.handle_timeout(now)
    }

    /// Nothing more is to be read from the socket just now.
    pub fn is_paused(&self) -> bool {
        match self.line.stage {
            Stage::LoggingIn => self.left.len() >= limits::BEHIND_HELLO_BYTES_MAX,
            Stage::Open => self.line.is_full(),
            Stage::Greeting | Stage::Resuming | Stage::Closed => false,
        }
    }

    /// Input is kept, be it the beginning of a frame or what a pause holds up.
    pub fn holds_input(&self) -> bool {
        !self.left.is_empty()
    }

    /// Bytes allocated between calls; 0 whenever all input was read.
    pub fn held_bytes(&self) -> usize {
        self.left.capacity()
    }

    /// When to call [`ServerConn::handle_timeout`]; far away while nothing is waited for.
    pub fn poll_timeout(&self) -> Moment {
        if self.is_paused() { NEVER } else { self.line.poll_timeout() }
    }

    fn read(&mut self, input: &mut &[u8]) -> Result<Option<Said>, Fault> {
        loop {
            if self.line.stage == Stage::Closed {
                return Ok(None);
            }
            if !self.line.may_read() {
                self.line.stood_still |= self.line.stage == Stage::Open;
                self.keep(input)?;
                return Ok(None);
            }
            let max = self.line.frame_max();
            if self.left.is_empty() {
                let Some(frame) = frame::split(input, max)? else {
                    self.left = input.to_vec();
                    *input = &[];
                    return Ok(None);
                };
                if let Some(said) = self.line.said(frame)? {
                    return Ok(Some(said));
                }
            } else {
                let Some((from, to)) = self.complete(input, max)? else { return Ok(None) };
                let said = self.line.said(&self.left[from..to]);
                self.left_read = to;
                if to == self.left.len() {
                    self.left = Vec::new();
                    self.left_read = 0;
                }
                if let Some(said) = said? {
                    return Ok(Some(said));
                }
            }
        }
    }

    /// Where the first frame in `left` stands, completed from `input` as far as need be.
    fn complete(
        &mut self,
        input: &mut &[u8],
        max: u32,
    ) -> Result<Option<(usize, usize)>, BadLength> {
        loop {
            let unread = &self.left[self.left_read..];
            let missing = match frame::header(unread, max)? {
                None => 1,
                Some(header) => {
                    let end = header.length_bytes + header.body_bytes;
                    let Some(missing) = end.checked_sub(unread.len()).filter(|&n| n > 0) else {
                        let from = self.left_read + header.length_bytes;
                        return Ok(Some((from, self.left_read + end)));
                    };
                    missing
                }
            };
            if self.left_read > 0 {
                self.left.drain(..self.left_read);
                self.left_read = 0;
            }
            let (taken, rest) = input.split_at(missing.min(input.len()));
            self.left.extend_from_slice(taken);
            *input = rest;
            if taken.len() < missing && rest.is_empty() {
                self.left.shrink_to(limits::BEHIND_HELLO_BYTES_MAX);
                return Ok(None);
            }
        }
    }

    /// Keeps `input` unread for later.
    fn keep(&mut self, input: &mut &[u8]) -> Result<(), Fault> {
        if input.is_empty() {
            return Ok(());
        }
        let unread = self.left.len() - self.left_read;
        let bytes = unread + input.len();
        let most = match self.line.stage {
            Stage::LoggingIn => limits::BEHIND_HELLO_BYTES_MAX,
            _ => self.line.frame_bytes_max as usize,
        };
        // One reading more than allowed: the caller cannot know beforehand where a pause begins.
        if bytes > most + limits::READ_BYTES_MAX {
            return Err(Fault::Unread { bytes });
        }
        self.left.drain(..self.left_read);
        self.left_read = 0;
        self.left.extend_from_slice(input);
        *input = &[];
        Ok(())
    }
}

impl Line {
    fn is_full(&self) -> bool {
        self.in_flight >= self.in_flight_max
    }

    fn may_read(&self) -> bool {
        match self.stage {
            Stage::LoggingIn => false,
            Stage::Open => !self.is_full(),
            Stage::Greeting | Stage::Resuming | Stage::Closed => true,
        }
    }

    fn frame_max(&self) -> u32 {
        match self.stage {
            Stage::Greeting | Stage::LoggingIn => limits::FRAME_BEFORE_LOGIN_BYTES_MAX,
            Stage::Resuming | Stage::Open | Stage::Closed => self.frame_bytes_max,
        }
    }

    fn heard(&mut self, something: bool, now: Moment) {
        let on_again = self.stood_still && !self.is_full();
        self.stood_still &= !on_again;
        // Bytes alone do not put off the end of the wait for a Hello.
        if (something || on_again) && self.stage != Stage::Greeting {
            self.heard_at = now;
            self.probed = false;
        }
    }

    /// What a frame says, and whether it may be said now. `None`: nothing that concerns anyone.
    fn said(&mut self, frame: &[u8]) -> Result<Option<Said>, Fault> {
        if frame.is_empty() {
            return Ok(Some(Said::KeepAlive));
        }
        let (frame, key) = decode(frame)?;
        match self.stage {
            Stage::Greeting => self.greeting(frame).map(Some),
            Stage::Resuming => self.resuming(frame).map(Some),
            Stage::Open => self.open(frame, key),
            Stage::LoggingIn | Stage::Closed => Ok(None),
        }
    }

    fn greeting(&mut self, frame: wire::ClientFrame) -> Result<Said, Fault> {
        let Some(Kind::Hello(hello)) = frame.kind else {
            return Err(Fault::Unexpected("a frame before Hello"));
        };
        self.stage = Stage::LoggingIn;
        Ok(Said::Hello(Box::new(hello)))
    }

    fn resuming(&mut self, frame: wire::ClientFrame) -> Result<Said, Fault> {
        match frame.kind {
            Some(Kind::Resume(resume)) => {
                check(&resume)?;
                self.resume_frames += 1;
                if resume.last {
                    self.stage = Stage::Open;
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
        Ok(Some(Said::Request(Request {
            id,
            key,
            deadline_ms: frame.deadline_ms,
            attempt: frame.attempt,
            traceparent: frame.traceparent,
            kind,
        })))
    }

    fn handle_timeout(&mut self, now: Moment) -> Option<Due> {
        // The silence of a pause was not the client's.
        self.heard(false, now);
        if now < self.poll_timeout() {
            return None;
        }
        if self.stage == Stage::Greeting {
            self.stage = Stage::Closed;
            return Some(Due::Close(CloseCode::LoginLate));
        }
        if now >= self.heard_at.plus(ms(self.idle_ms)) {
            self.stage = Stage::Closed;
            return Some(Due::Close(CloseCode::Idle));
        }
        self.probed = true;
        let id = self.next_probe;
        self.next_probe += 1;
        Some(Due::Probe(id))
    }

    fn poll_timeout(&self) -> Moment {
        let wait = match self.stage {
            // While logging in it is the server that is waited for.
            Stage::LoggingIn | Stage::Closed => return NEVER,
            Stage::Greeting => self.login_ms,
            Stage::Resuming | Stage::Open if self.probed => self.idle_ms,
            Stage::Resuming | Stage::Open => self.probe_ms.min(self.idle_ms),
        };
        self.heard_at.plus(ms(wait))
    }
}

fn ms(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

/// Reads a frame; its key without an allocation for 16 bytes.
fn decode(mut bytes: &[u8]) -> Result<(wire::ClientFrame, Option<Key>), DecodeError> {
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
