//! Bytes to frames: whole ones are read where they lie, the rest waits.
//!
//! Tens of thousands are held at once: nothing is kept of input that ended on a frame's end.

use std::time::Duration;

use super::line::Line;
use super::said::{Due, Fault, Said};
use crate::frame::{self, BadLength};
use crate::limits;
use crate::time::Moment;

/// What a server grants its connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerOptions {
    /// Longest frame after login, bytes; told in Welcome.
    pub frame_bytes_max: u32,
    /// Requests not answered yet with which reading stops; told in Welcome.
    pub requests_in_flight_max: u16,
    /// How long a client may take to its Hello, and once accepted to its last Resume.
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

impl ServerConn {
    /// A connection that was just made: a Hello is awaited.
    pub fn new(options: ServerOptions, now: Moment) -> Self {
        Self { left: Vec::new(), left_read: 0, line: Line::new(options, now) }
    }

    /// The next thing said: call until `None`. Then all of `input` has been taken.
    ///
    /// `None` while [`ServerConn::is_paused`] holds too: what came is kept, and once the
    /// pause is over a call without input goes on with it.
    ///
    /// # Errors
    /// [`Fault`]: the client broke the protocol. Nothing is heard from then on.
    pub fn next(&mut self, input: &mut &[u8], now: Moment) -> Result<Option<Said>, Fault> {
        self.line.go_on(now);
        let said = self.read(input, now);
        if said.is_err() {
            self.line.close();
        }
        if self.line.is_closed() {
            *input = &[];
            self.left = Vec::new();
            self.left_read = 0;
        }
        said
    }

    /// The login is accepted: Resume frames may come.
    pub fn accept(&mut self, now: Moment) {
        self.line.accept(now);
    }

    /// The answer to one request was written. Where that ends a pause and
    /// [`ServerConn::holds_input`] is true, [`ServerConn::next`] has more to say without input.
    pub fn answered(&mut self) {
        self.line.answered();
    }

    /// The caller reads no more for a reason of its own, or reads again: silence in between is
    /// not the client's.
    pub fn hold(&mut self, held: bool) {
        self.line.hold(held);
    }

    /// Does what is due. Harmless when nothing is; call until `None`.
    pub fn handle_timeout(&mut self, now: Moment) -> Option<Due> {
        self.line.handle_timeout(now)
    }

    /// Nothing more is to be read from the socket just now.
    pub fn is_paused(&self) -> bool {
        if self.line.is_logging_in() {
            self.left.len() >= limits::BEHIND_HELLO_BYTES_MAX
        } else {
            self.line.is_full()
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
        self.line.poll_timeout()
    }

    fn read(&mut self, input: &mut &[u8], now: Moment) -> Result<Option<Said>, Fault> {
        loop {
            if self.line.is_closed() {
                return Ok(None);
            }
            if !self.line.may_read() {
                self.line.stand_still();
                self.keep(input)?;
                return Ok(None);
            }
            let max = self.line.frame_max();
            let said = if self.left.is_empty() {
                let Some(frame) = frame::split(input, max)? else {
                    self.left = input.to_vec();
                    *input = &[];
                    return Ok(None);
                };
                self.line.said(frame, now)?
            } else {
                let Some((from, to)) = self.complete(input, max)? else { return Ok(None) };
                let said = self.line.said(&self.left[from..to], now)?;
                self.left_read = to;
                if to == self.left.len() {
                    self.left = Vec::new();
                    self.left_read = 0;
                }
                said
            };
            if said.is_some() {
                return Ok(said);
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
        let most = if self.line.is_logging_in() {
            limits::BEHIND_HELLO_BYTES_MAX
        } else {
            self.line.frame_max() as usize
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

#[cfg(test)]
#[path = "conn_tests.rs"]
mod tests;
