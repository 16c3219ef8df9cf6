//! What was told becomes figures.

use super::tally::Delivery;
use super::world::{Reading, World};
use crate::driver::{Driver, How, Told};
use crate::engine::payload::{Payload, Read, Tag};
use crate::report::model::{Measure, Witness};

/// A message that came in.
struct Came {
    conn: u32,
    channel: u32,
    seq: Option<u64>,
    how: How,
    now_ns: u64,
}

impl<D: Driver> World<D> {
    /// Takes in what connection `conn` was told.
    pub(super) fn hear(&mut self, conn: u32, told: Told, now_ns: u64) {
        match told {
            Told::Live => self.came_live(conn, now_ns),
            Told::Message { channel, seq, body, how } => {
                let came = Came { conn, channel, seq, how, now_ns };
                match body {
                    Read::Whole(payload) => self.message(&came, &payload),
                    Read::Corrupt => self.wrong("corrupted", &came, None),
                }
            }
            Told::Acked(tag) => self.acked(conn, tag, now_ns),
            Told::Refused { tag, code, after_ms } => self.refused(tag, (code, after_ms), now_ns),
            Told::Page { tag, rows, next } => self.page(tag, rows, next, now_ns),
            Told::Settled => self.settled += 1,
            Told::ReadBack { channel, rows, next } => self.read_back.push((channel, rows, next)),
            Told::Closing { code, after_ms, elsewhere } => {
                self.told_to_go(code, after_ms, elsewhere, now_ns);
            }
            Told::Unusable(why) => {
                self.unusable.get_or_insert(why);
            }
        }
    }

    fn message(&mut self, came: &Came, payload: &Payload) {
        let Came { conn, channel, now_ns, .. } = *came;
        if payload.run != self.config.run {
            return;
        }
        let Some(running) = &mut self.running else { return };
        let tag = payload.tag;
        if tag.phase != running.number {
            return;
        }
        let Some(Some(stream)) = running.streams.get_mut(tag.stream as usize) else { return };
        let Some(member) = self.layout.member_no(channel, conn) else { return };
        let slow = self.conns[conn as usize].reading != Reading::AtOnce;
        let caught_up = came.how == How::CaughtUp;
        let late = came.how == How::Late
            || (came.how == How::Live && stream.tally.has_next(tag.number, member));
        let Some((sent, delivery)) = stream.tally.deliver(tag.number, member, !slow, caught_up)
        else {
            return;
        };
        running.heard_ns = now_ns;
        let last = match delivery {
            Delivery::New { last } => last,
            // A device that catches up may be given what it just had.
            Delivery::Again if caught_up => return,
            Delivery::Again => return self.wrong("duplicated", came, Some(tag)),
        };
        let meter = &mut stream.meter;
        meter.delivered();
        let took_ns = now_ns.saturating_sub(sent.intended_ns);
        match (slow, caught_up) {
            (true, _) => meter.counts.delivered_slowly += 1,
            (false, true) => meter.counts.caught_up += 1,
            (false, false) => {
                meter.counts.delivered += 1;
                meter.record(Measure::Response, sent.intended_ns, took_ns);
                meter.record(
                    Measure::Service,
                    sent.intended_ns,
                    now_ns.saturating_sub(sent.sent_ns),
                );
            }
        }
        if last && sent.all_live() {
            meter.record(Measure::Last, sent.intended_ns, took_ns);
        }
        if late {
            self.wrong("reordered", came, Some(tag));
        }
    }

    fn wrong(&mut self, wrong: &'static str, came: &Came, tag: Option<Tag>) {
        let worker = self.config.worker;
        self.wrongs.add(wrong, || Witness {
            wrong: wrong.into(),
            channel: came.channel.to_string(),
            seq: came.seq,
            message: tag
                .map_or("-".into(), |tag| format!("{}/{}/{}", tag.phase, tag.stream, tag.number)),
            connection: format!("{worker}/{}", came.conn),
        });
    }

    fn acked(&mut self, conn: u32, tag: Tag, now_ns: u64) {
        if let Some(filling) = &mut self.filling {
            filling.acked += 1;
            filling.under_way -= 1;
            return;
        }
        let Some(running) = self.running.as_mut().filter(|r| r.number == tag.phase) else { return };
        let Some(Some(stream)) = running.streams.get_mut(tag.stream as usize) else { return };
        if let Some(sent) = stream.tally.ack(tag.number) {
            running.heard_ns = now_ns;
            stream.meter.acked();
            stream.meter.record(
                Measure::Ack,
                sent.intended_ns,
                now_ns.saturating_sub(sent.intended_ns),
            );
            let answered_ns = &mut self.conns[conn as usize].answered_ns;
            let free_ns = std::mem::replace(answered_ns, now_ns).max(sent.sent_ns);
            stream.meter.record(Measure::Naive, sent.intended_ns, now_ns.saturating_sub(free_ns));
        }
    }

    fn refused(&mut self, tag: Tag, (code, after_ms): (u32, u32), now_ns: u64) {
        if let Some(filling) = &mut self.filling {
            filling.refused += 1;
            filling.again += 1;
            filling.under_way -= 1;
            return;
        }
        let Some(running) = self.running.as_mut().filter(|r| r.number == tag.phase) else { return };
        let Some(Some(stream)) = running.streams.get_mut(tag.stream as usize) else { return };
        *stream.meter.counts.refused.entry(code).or_default() += 1;
        if let Some(scroll) = stream.scrolls.get_mut(tag.number as usize) {
            if std::mem::take(&mut scroll.left) > 0 {
                stream.scrolling -= 1;
            }
        } else if let Some(sent) = stream.tally.refuse(tag.number) {
            running.heard_ns = now_ns;
            let took_ns = now_ns.saturating_sub(sent.intended_ns);
            stream.meter.record(Measure::Refused, sent.intended_ns, took_ns);
            stream.meter.counts.untimed += u64::from(after_ms == 0);
            let expected = &mut stream.meter.counts.expected;
            *expected = expected.saturating_sub(u64::from(stream.members));
        }
    }

    fn page(&mut self, tag: Tag, rows: u32, next: Option<u64>, now_ns: u64) {
        let Some(running) = self.running.as_mut().filter(|r| r.number == tag.phase) else { return };
        let Some(Some(stream)) = running.streams.get_mut(tag.stream as usize) else { return };
        let Some(scroll) = stream.scrolls.get_mut(tag.number as usize) else { return };
        if scroll.left == 0 {
            return;
        }
        running.heard_ns = now_ns;
        stream.meter.counts.rows += u64::from(rows);
        stream.meter.record(Measure::Page, scroll.begun_ns, now_ns.saturating_sub(scroll.begun_ns));
        scroll.left -= 1;
        let (conn, channel) = (scroll.conn, scroll.channel);
        match next.filter(|_| scroll.left > 0) {
            Some(before) => {
                scroll.begun_ns = now_ns;
                self.ask_page(tag, (conn, channel), Some(before));
            }
            None => {
                scroll.left = 0;
                stream.scrolling -= 1;
                stream.meter.acked();
            }
        }
    }
}
