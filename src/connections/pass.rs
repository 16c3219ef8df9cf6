//! One channel's part of a turn: visit a member, make its record, write it.
//!
//! ```text
//! record   | control | behind? | frame | frame | ...  at most 16 KiB, or one longer frame
//! ```
//!
//! Members whose cursors are equal get the same plaintext: it is put together once. Ciphertext
//! cannot be shared, since every connection has its own keys.

use damso_proto::id::Seq;
use damso_proto::time::Moment;

use super::behind;
use super::channel_log::{ChannelLog, Member, Next};
use super::notice::Turn;
use super::options::{Options, RECORD_BYTES_MAX};
use super::pipe::{Life, Pipe};
use super::table::Table;
use super::wire::Scratch;

/// So many visits that find nothing to send count as one send.
const VISITS_PER_SEND: u32 = 64;

/// One channel's part of a turn.
pub(super) struct Pass<'a> {
    pub(super) table: &'a mut Table,
    pub(super) scratch: &'a mut Scratch,
    pub(super) plain: &'a mut Vec<u8>,
    pub(super) options: &'a Options,
    pub(super) now: Moment,
    pub(super) turn: &'a mut Turn,
    pub(super) index: u32,
    pub(super) prepared: Option<Prepared>,
    pub(super) outcome: Outcome,
}

/// The plaintext that is put together already: from behind one cursor, to a limit.
pub(super) struct Prepared {
    above: Seq,
    limit: Seq,
    made: Record,
}

/// What a record carries.
#[derive(Clone, Copy)]
struct Record {
    /// Its last event, or where the cursor stood.
    last: Seq,
    events: u32,
    control: usize,
    fell: bool,
}

/// What is left to do when the pass is over.
#[derive(Default)]
pub(super) struct Outcome {
    /// Slot and membership of members who have had their last event.
    pub(super) stopped: Vec<(u32, u32)>,
    /// Slots of pipes whose socket became full.
    pub(super) stalled: Vec<u32>,
    /// Slots of pipes that failed.
    pub(super) broken: Vec<u32>,
}

impl Pass<'_> {
    /// Visits members until `quantum` sends are used up, or all have been served. Returns the sends.
    pub(super) fn run(&mut self, log: &mut ChannelLog, quantum: u32) -> u32 {
        let (mut spent, mut idle) = (0, 0);
        while spent < quantum {
            let Some(next) = log.next(self.options) else { break };
            let sent = match next {
                Next::Member(member) => self.visit(log, member),
                Next::Again(place) => {
                    // The lists may have moved since; an entry that no longer fits is nobody's.
                    let pipe = self.table.at(place.slot);
                    pipe.and_then(|pipe| pipe.memberships.get(place.place as usize))
                        .filter(|membership| membership.log == self.index)
                        .map(|membership| membership.member as usize)
                        .is_some_and(|member| self.visit(log, member))
                }
            };
            if sent {
                spent += 1;
            } else {
                idle += 1;
                if idle == VISITS_PER_SEND {
                    idle = 0;
                    spent += 1;
                }
            }
        }
        spent
    }

    /// Sends a member what it lacks, as far as one record takes it. Returns whether it did.
    fn visit(&mut self, log: &mut ChannelLog, index: usize) -> bool {
        let member = log.members[index];
        let limit = log.limit(&member);
        let cursor = member.cursor;
        if cursor.seq() >= limit || cursor.is_waiting() || cursor.is_blocked() {
            self.note_stop(log, &member, cursor.seq());
            return false;
        }
        let Some(pipe) = self.table.at(member.slot).filter(|pipe| pipe.life == Life::Open) else {
            // On its way out, and out of all channels by the end of this turn.
            log.sent(index, limit);
            return false;
        };
        if !pipe.can_send() {
            pipe.note_blocked(member.place);
            log.block(index);
            return false;
        }
        let record = compose(log, &member, limit, pipe, &mut self.prepared, self.plain);
        let sent = pipe.send(self.scratch, self.plain, record.control, self.now);
        self.turn.sends += 1;
        self.turn.bytes += self.plain.len() as u64;
        self.turn.deliveries += u64::from(record.events);
        self.turn.fallen += u32::from(record.fell);
        log.sent(index, record.last);
        match sent {
            Ok(true) if record.last < limit => log.again(index),
            Ok(true) => {}
            Ok(false) => {
                self.turn.blocked += 1;
                self.outcome.stalled.push(member.slot);
                if record.last < limit {
                    pipe.note_blocked(member.place);
                    log.block(index);
                }
            }
            Err(_) => {
                self.outcome.broken.push(member.slot);
                log.sent(index, limit);
                pipe.life = Life::Broken;
            }
        }
        self.note_stop(log, &member, record.last);
        true
    }

    fn note_stop(&mut self, log: &ChannelLog, member: &Member, sent: Seq) {
        if log.stop_of(member).is_some_and(|stop| sent >= stop) && !member.cursor.is_waiting() {
            self.outcome.stopped.push((member.slot, member.place));
        }
    }
}

/// Puts the plaintext of a member's next record together.
fn compose(
    log: &ChannelLog,
    member: &Member,
    limit: Seq,
    pipe: &Pipe,
    prepared: &mut Option<Prepared>,
    plain: &mut Vec<u8>,
) -> Record {
    let above = member.cursor.seq();
    let control = pipe.control_in_record();
    if control == 0
        && let Some(same) = prepared
        && same.above == above
        && same.limit == limit
    {
        return same.made;
    }
    *prepared = None;
    plain.clear();
    plain.extend_from_slice(&pipe.control[..control]);
    let mut record = Record { last: above, events: 0, control, fell: false };
    // Nothing may stand between two halves of an answer.
    if control < pipe.control.len() || RECORD_BYTES_MAX - control < behind::FRAME_BYTES_MAX {
        return record;
    }
    let begins = log.begins();
    if above.next() < begins {
        let to = begins.prev().min(limit);
        behind::put(log.channel, above.next(), to, log.head(), plain);
        record = Record { last: to, fell: true, ..record };
    }
    for frame in log.frames_above(record.last) {
        // The first one goes even if it is long, or fresh answers could hold it back for ever.
        let fits = plain.len() + frame.len() <= RECORD_BYTES_MAX || record.last == above;
        if record.last >= limit || !fits {
            break;
        }
        plain.extend_from_slice(frame);
        record.last = record.last.next();
        record.events += 1;
    }
    if control == 0 {
        *prepared = Some(Prepared { above, limit, made: record });
    }
    record
}
