//! Reads every channel back from history, and lets the checker judge.

use std::time::Duration;

use damso_proto::client::{Answer, Ask};
use damso_proto::id::{ChannelNo, Seq};
use damso_proto::wire;
use damso_proto::wire::client_frame::Kind;
use damso_proto::wire::read_history::Direction;

use super::desk::{Answered, Asked, Desk};
use super::order::{Judged, Report};
use super::worker::{WorkError, Worker};
use crate::checker::{Checker, Observation, ReceiverNo, Seen};
use crate::engine::poll::now_ns;

/// Channels being read at once.
const READING_MAX: usize = 16;
/// How long reading may stand still.
const STALL: Duration = Duration::from_secs(20);

/// How far the reading of one channel is.
#[derive(Clone, Copy, Default)]
struct Place {
    /// The last seq that was read.
    at: u64,
    head: u64,
    /// The first seq that the reader may see; 0: not known yet.
    floor: u64,
}

impl Worker {
    pub(super) fn judge(&mut self, history: bool) -> Result<Report, WorkError> {
        let mut judged = Judged::default();
        self.everyone_must_have_everything();
        if history {
            self.read_back(&mut judged)?;
        }
        let checker = std::mem::replace(&mut self.desk, Desk::new(self.config.run));
        judged.corrupt = checker.corrupt;
        let verdict = Checker::finish(checker.checker);
        judged.passed = verdict.passed() && judged.corrupt == 0;
        judged.channels_unread = verdict.counts.channels_unread;
        judged.violations =
            verdict.violations.iter().map(|(law, count)| (format!("{law:?}"), *count)).collect();
        judged.text = verdict.to_string();
        Ok(Report::Judged(judged))
    }

    /// Every member whose connection lived must have seen every acknowledged message.
    fn everyone_must_have_everything(&mut self) {
        for channel in 0..self.config.channels {
            let number = self.channels[channel as usize];
            let Some(head) = self.desk.heads.get(&number).copied() else { continue };
            for member in 0..self.config.members {
                let conn = self.member(channel, member);
                if self.conns[conn as usize].pipe.is_none() {
                    continue;
                }
                let (receiver, channel) = (ReceiverNo(conn.into()), ChannelNo::new(number));
                let seq = Seq::new(head);
                self.desk.checker.observe(Observation::MustReach { receiver, channel, seq });
                // The others were added later, and told from where on.
                if member <= self.invited() {
                    let from = Seq::new(1);
                    self.desk.checker.observe(Observation::MustStart { receiver, channel, from });
                }
            }
        }
    }

    fn read_back(&mut self, judged: &mut Judged) -> Result<(), WorkError> {
        let channels = self.config.channels;
        let mut places = vec![Place::default(); channels as usize];
        let (mut begun, mut reading, mut progress_ns) = (0, 0_usize, now_ns());
        self.desk.answers.clear();
        while reading > 0 || begun < channels {
            while reading < READING_MAX && begun < channels {
                if self.read_on(begun, 0) {
                    reading += 1;
                }
                begun += 1;
            }
            if reading > 0 {
                self.turn(Some(now_ns() + STALL.as_nanos() as u64))?;
            }
            for (_, asked, answered) in std::mem::take(&mut self.desk.answers) {
                let Asked::Page { channel } = asked else { continue };
                progress_ns = now_ns();
                let (page, more) = match answered {
                    Answered::With(Answer::Page(page), more) => (page, more),
                    Answered::With(..) => continue,
                    Answered::Refused(refusal) => {
                        return Err(WorkError::Refused(format!(
                            "reading channel {channel} back: code {}: {}",
                            refusal.code, refusal.text
                        )));
                    }
                };
                let place = &mut places[channel as usize];
                judged.rows_read += page.rows.len() as u64;
                self.desk.take_page(page, place);
                if more {
                    continue;
                }
                if place.at >= place.head {
                    reading -= 1;
                    judged.channels_read += 1;
                    let (from, head) = (Seq::new(place.floor.max(1)), Seq::new(place.head));
                    let channel = ChannelNo::new(self.channels[channel as usize]);
                    self.desk.checker.observe(Observation::ReadBack { channel, from, head });
                } else {
                    let at = place.at;
                    if !self.read_on(channel, at) {
                        reading -= 1;
                    }
                }
            }
            if now_ns() - progress_ns > STALL.as_nanos() as u64 {
                return Err(WorkError::Refused(format!(
                    "history of {reading} channels did not answer in {} s",
                    STALL.as_secs()
                )));
            }
        }
        Ok(())
    }

    /// Asks for the next page behind `at`. `false`: nobody is there to ask.
    fn read_on(&mut self, channel: u32, at: u64) -> bool {
        let kind = Kind::ReadHistory(wire::ReadHistory {
            channel: self.channels[channel as usize],
            seq: at,
            direction: Direction::After.into(),
            rows: 0,
        });
        (0..self.config.members).any(|member| {
            let conn = self.member(channel, member);
            self.ask(conn, Ask::reading(kind.clone()), Asked::Page { channel })
        })
    }
}

impl Desk {
    fn take_page(&mut self, page: wire::Page, place: &mut Place) {
        for row in &page.rows {
            if let Some(event) = &row.event {
                self.checker.observe(Observation::Stored { seen: Seen::from(event) });
            }
        }
        if place.floor == 0 {
            place.floor = page.floor;
            place.head = page.as_of;
        }
        if page.to >= page.from {
            place.at = place.at.max(page.to);
        } else {
            // An empty page: nothing is behind this place.
            place.at = place.head;
        }
    }
}
