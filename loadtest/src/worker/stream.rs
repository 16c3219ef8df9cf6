//! One kind of traffic in one phase.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::meter::Meter;
use super::order::StreamOrder;
use super::tally::Tally;
use crate::scenario::layout::Layout;
use crate::scenario::{Op, Traffic};
use crate::schedule::Stream as Plan;

/// A member who scrolls back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scroll {
    pub(super) conn: u32,
    pub(super) channel: u32,
    /// Pages left; 0: over.
    pub(super) left: u32,
    /// When the page was asked for, or was meant to be.
    pub(super) begun_ns: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) traffic: Traffic,
    /// The first channel of its class, and how many there are.
    pub(super) first: u32,
    channels: u32,
    pub(super) members: u32,
    pub(super) tally: Tally,
    pub(super) meter: Meter,
    /// The last message of a sender in a channel.
    pub(super) latest: HashMap<(u32, u32), u32, FixedState>,
    pub(super) scrolls: Vec<Scroll>,
    pub(super) scrolling: u64,
}

impl Stream {
    pub(super) fn new(order: &StreamOrder, layout: &Layout, seconds: f64) -> Self {
        let range = layout.range(order.class);
        let members = layout.class(range.start).members;
        let expected = (order.traffic.rate * seconds * 1.05) as usize + 16;
        let messages = if order.traffic.op == Op::Send { expected } else { 0 };
        Self {
            first: range.start,
            channels: range.end - range.start,
            members,
            tally: Tally::new(members, messages),
            meter: Meter::default(),
            latest: HashMap::default(),
            scrolls: Vec::new(),
            scrolling: 0,
            traffic: order.traffic.clone(),
        }
    }

    pub(super) fn plan(&self, number: u16) -> Plan {
        Plan {
            number,
            arrival: self.traffic.arrival,
            rate: self.traffic.rate,
            channels: self.channels,
            members: self.members,
            zipf: self.traffic.zipf,
        }
    }

    /// Something of it is still to come.
    pub(super) fn is_open(&self) -> bool {
        let (outstanding, unanswered) = self.tally.open();
        outstanding + unanswered + self.scrolling > 0
    }
}
