//! A stretch of traffic: what was planned is begun when it was planned, whatever became of the rest.

use rustix::time::{ClockId, clock_gettime};

use super::befall::Fates;
use super::order::{PhaseOrder, Ran, Report, Second, StreamOrder};
use super::stream::{Scroll, Stream};
use super::work::tell;
use super::world::{Reading, WorkError, World};
use crate::driver::{Abilities, Driver};
use crate::engine::payload::{Payload, Tag};
use crate::engine::poll::{SECOND_NS, now_ns};
use crate::report::model::{Measure, Witness};
use crate::scenario::Op;
use crate::scenario::layout::Layout;
use crate::schedule::{Planned, plan};

/// CPU time of this process, nanoseconds.
fn own_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * SECOND_NS + time.tv_nsec as u64
}

/// The phase that runs.
pub(super) struct Running {
    pub(super) number: u16,
    pub(super) start_ns: u64,
    /// When the target is asked to end.
    pub(super) stop_ns: u64,
    pub(super) streams: Vec<Option<Stream>>,
    plan: Vec<Planned>,
    planned_at: usize,
    pub(super) fates: Fates,
    pub(super) ran: Ran,
    /// When something of the phase was last heard.
    pub(super) heard_ns: u64,
    /// The end of the running second, and CPU time at its beginning.
    second_ends_ns: u64,
    second_cpu_ns: u64,
    pub(super) second_visits: u64,
}

impl Running {
    fn new(order: &PhaseOrder, layout: &Layout, abilities: Abilities) -> Self {
        let able = |stream: &&StreamOrder| stream.traffic.op == Op::Send || abilities.history;
        let mut streams: Vec<Option<Stream>> = order
            .streams
            .iter()
            .map(|stream| stream.as_ref().filter(able))
            .map(|stream| stream.map(|s| Stream::new(s, layout, order.seconds)))
            .collect();
        let from_ns = order.start_ns + (order.lead_seconds * 1e9) as u64;
        streams.iter_mut().flatten().for_each(|stream| stream.meter.from_ns = from_ns);
        let plans: Vec<_> = (0..)
            .zip(&streams)
            .filter_map(|(number, stream)| Some(stream.as_ref()?.plan(number)))
            .collect();
        let plan = plan(&plans, order.seconds, order.seed);
        Self {
            number: order.number,
            start_ns: order.start_ns,
            stop_ns: order.stop.map_or(u64::MAX, |stop| {
                order.start_ns + ((order.lead_seconds + stop.at_seconds) * 1e9) as u64
            }),
            streams,
            plan,
            planned_at: 0,
            fates: Fates::draw(order, layout.people()),
            ran: Ran::default(),
            heard_ns: 0,
            second_ends_ns: order.start_ns + SECOND_NS,
            second_cpu_ns: 0,
            second_visits: 0,
        }
    }

    fn next_ns(&self) -> u64 {
        let planned = self.plan.get(self.planned_at);
        let planned_ns = planned.map_or(u64::MAX, |next| self.start_ns + next.offset_ns);
        planned_ns.min(self.second_ends_ns).min(self.fates.next_ns())
    }

    fn is_open(&self) -> bool {
        self.fates.is_open() || self.streams.iter().flatten().any(Stream::is_open)
    }

    /// Takes the second that is over.
    fn take_second(&mut self, now_ns: u64, live: usize) -> Second {
        let cpu_ns = own_cpu_ns();
        let own_cpu_ns = cpu_ns - std::mem::replace(&mut self.second_cpu_ns, cpu_ns);
        let over = (now_ns - self.start_ns) / SECOND_NS;
        self.second_ends_ns = self.start_ns + (over + 1) * SECOND_NS;
        let streams = (0..)
            .zip(&mut self.streams)
            .filter_map(|(number, stream)| Some((number, stream.as_mut()?.meter.take_second()?)));
        let visits = std::mem::take(&mut self.second_visits);
        let (streams, live) = (streams.collect(), live as u64);
        Second { at: over as u32, streams, live, visits, own_cpu_ns }
    }
}

impl<D: Driver> World<D> {
    pub(super) fn run_phase(&mut self, order: PhaseOrder) -> Result<Report, WorkError> {
        let mut running = Box::new(Running::new(&order, &self.layout, self.driver.abilities()));
        // Served until then, too: the other workers are still getting ready.
        while now_ns() < order.start_ns {
            self.turn(Some(order.start_ns))?;
        }
        let bytes = self.bytes_in();
        let cpu_ns = own_cpu_ns();
        running.second_cpu_ns = cpu_ns;
        let end_ns = order.start_ns + (order.seconds * 1e9) as u64;
        self.running = Some(running);
        self.slow_down(&order);
        self.begin_visits(&order);
        while now_ns() < end_ns && !self.all_stopped() {
            let next_ns = self.running.as_ref().map_or(end_ns, |running| running.next_ns());
            self.turn(Some(next_ns.min(end_ns)))?;
        }
        let end_ns = end_ns.min(now_ns());
        self.read_at_once_again();
        let drain_ns = (order.drain_seconds * 1e9) as u64;
        let visited_ns = end_ns + drain_ns;
        while self.running.as_ref().is_some_and(|r| r.fates.visits_are_open())
            && now_ns() < visited_ns
        {
            let next_ns = self.running.as_ref().map_or(end_ns, |running| running.next_ns());
            self.turn(Some(next_ns.min(visited_ns)))?;
        }
        self.end_visits();
        let drained_ns = now_ns() + drain_ns;
        while self.running.as_ref().is_some_and(|running| running.is_open() || self.opening > 0)
            && now_ns() < drained_ns
            && !self.all_stopped()
        {
            let next_ns = self.running.as_ref().map_or(end_ns, |running| running.next_ns());
            self.turn(Some(next_ns.min(drained_ns)))?;
        }
        let Some(mut running) = self.running.take() else {
            return Err(WorkError::Refused("no phase runs".into()));
        };
        self.all_are_even();
        let second = running.take_second(now_ns() + SECOND_NS, self.live);
        // A tail in which nothing came any more is no second of the phase.
        if !second.streams.is_empty() {
            tell(&Report::Second(Box::new(second)))?;
        }
        self.count_what_is_missing(&mut running);
        self.count_who_is_missing(&running);
        let mut ran = std::mem::take(&mut running.ran);
        ran.own_cpu_ns = own_cpu_ns() - cpu_ns;
        ran.bytes_in = self.bytes_in().saturating_sub(bytes);
        // Those that were lost before it, too: nobody else would tell of them.
        ran.lost = std::mem::take(&mut self.lost);
        ran.closings = std::mem::take(&mut self.closings);
        ran.seconds = running.heard_ns.max(end_ns).saturating_sub(order.start_ns) as f64 / 1e9;
        ran.counts = running
            .streams
            .iter()
            .map(|stream| stream.as_ref().map(|s| s.meter.counts.clone()).unwrap_or_default())
            .collect();
        Ok(Report::Ran(Box::new(ran)))
    }

    /// Does everything whose time has come.
    pub(super) fn do_due(&mut self) -> Result<(), WorkError> {
        while let Some(running) = &mut self.running {
            let now_ns = now_ns();
            if now_ns >= running.second_ends_ns {
                let second = running.take_second(now_ns, self.live);
                tell(&Report::Second(Box::new(second)))?;
            }
            if now_ns >= running.fates.next_ns() {
                self.befall(now_ns);
                continue;
            }
            let Some(planned) = running.plan.get(running.planned_at).copied() else { break };
            let intended_ns = running.start_ns + planned.offset_ns;
            if now_ns < intended_ns {
                break;
            }
            running.planned_at += 1;
            self.begin_operation(planned, intended_ns, now_ns);
        }
        Ok(())
    }

    fn begin_operation(&mut self, planned: Planned, intended_ns: u64, now_ns: u64) {
        let Some(running) = &mut self.running else { return };
        let Some(stream) = &mut running.streams[planned.stream as usize] else { return };
        stream.meter.counts.planned += 1;
        stream.meter.offered();
        let channel = stream.first + planned.channel;
        // Whoever is away cannot; the next member who is here does.
        let among = match stream.traffic.op {
            Op::Send => self.layout.class(channel).writers(),
            Op::History => stream.members,
        };
        let mut members = (0..among).map(|nth| (planned.member + nth) % among);
        let able = members.find_map(|member| {
            let conn = self.layout.member(channel, member);
            let found = self.conns.get(conn as usize)?;
            (found.live && found.reading == Reading::AtOnce).then_some((conn, member))
        });
        let Some((conn, _)) = able else {
            stream.meter.counts.unsent += 1;
            return;
        };
        stream.meter.record(Measure::Lateness, intended_ns, now_ns - intended_ns);
        match stream.traffic.op {
            Op::Send => self.send(planned.stream, (conn, channel), intended_ns, now_ns),
            Op::History => self.scroll(planned.stream, (conn, channel), intended_ns),
        }
    }

    fn send(&mut self, number: u16, (conn, channel): (u32, u32), intended_ns: u64, now_ns: u64) {
        let counted = self.counted_members(channel);
        let acks = self.driver.abilities().acks;
        let Some(running) = &mut self.running else { return };
        let phase = running.number;
        let Some(stream) = &mut running.streams[number as usize] else { return };
        let previous = stream.latest.get(&(channel, conn)).copied();
        let message = stream.tally.send((intended_ns, now_ns), channel, counted, previous);
        stream.latest.insert((channel, conn), message);
        stream.meter.sent();
        stream.meter.counts.expected += u64::from(counted);
        if !acks {
            // Nobody will say so; it counts as taken, or a loss would be nobody's.
            stream.tally.ack(message);
        }
        let bytes = stream.traffic.payload_bytes;
        let tag = Tag { phase, stream: number, number: message };
        let payload = Payload { run: self.config.run, intended_ns, tag };
        // A connection that breaks at this very moment: the driver sends again when it is back, or
        // the message is called unanswered.
        self.say(conn, |driver, talk, now, out| {
            driver.send(conn, talk, channel, &payload, bytes, now, out);
        });
    }

    fn scroll(&mut self, number: u16, (conn, channel): (u32, u32), intended_ns: u64) {
        let Some(running) = &mut self.running else { return };
        let phase = running.number;
        let Some(stream) = &mut running.streams[number as usize] else { return };
        stream.meter.sent();
        let at = stream.scrolls.len() as u32;
        let left = stream.traffic.pages;
        stream.scrolls.push(Scroll { conn, channel, left, begun_ns: intended_ns });
        stream.scrolling += 1;
        self.ask_page(Tag { phase, stream: number, number: at }, (conn, channel), None);
    }

    pub(super) fn ask_page(&mut self, tag: Tag, (conn, channel): (u32, u32), before: Option<u64>) {
        let stream = self.running.as_ref().and_then(|r| r.streams[tag.stream as usize].as_ref());
        let Some(rows) = stream.map(|stream| stream.traffic.rows) else { return };
        self.say(conn, |driver, talk, now, out| {
            driver.page(conn, talk, channel, before, rows, tag, now, out);
        });
    }

    /// Connection `conn` is away: whatever it was scrolling through is over.
    pub(super) fn stop_scrolling(&mut self, conn: u32) {
        let Some(running) = &mut self.running else { return };
        for stream in running.streams.iter_mut().flatten().filter(|s| s.scrolling > 0) {
            for scroll in stream.scrolls.iter_mut().filter(|s| s.conn == conn && s.left > 0) {
                scroll.left = 0;
                stream.scrolling -= 1;
            }
        }
    }

    /// Whoever the scenario broke and did not come back in time is lost.
    fn count_who_is_missing(&mut self, running: &Running) {
        for conn in running.fates.away() {
            self.note_loss(conn, "it did not come back before the phase was over");
        }
    }

    /// What was taken and never came to somebody is lost, whoever it is.
    fn count_what_is_missing(&mut self, running: &mut Running) {
        let resume = self.driver.abilities().resume;
        for (number, stream) in (0..).zip(&mut running.streams) {
            let Some(stream) = stream else { continue };
            stream.meter.counts.complete = stream.tally.complete().0;
            let Self { wrongs, layout, config, conns, .. } = self;
            let phase = running.number;
            stream.tally.lost(|message, sent, member| {
                let conn = layout.member(sent.channel, member);
                // A lost connection is reported as such, and cannot have what came after.
                if conns[conn as usize].pipe.is_none() || (!resume && running.fates.touched(conn)) {
                    return;
                }
                wrongs.add("lost", || Witness {
                    wrong: "lost".into(),
                    channel: sent.channel.to_string(),
                    seq: None,
                    message: format!("{phase}/{number}/{message}"),
                    connection: format!("{}/{conn}", config.worker),
                });
            });
        }
    }
}
