//! Lines between devices and the server, and what happens to them.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, MutexGuard};

use damso::connections::{Cable, End, MemorySocket};
use tokio::sync::mpsc;

use super::dice::Dice;

/// Bytes that a line holds in each direction: a send buffer and a receive buffer.
const LINE_BYTES: usize = 48 * 1024;

/// One device, as the network knows it.
pub(crate) type DeviceNo = u64;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Network {
    /// One thread takes it, for a look or a change.
    state: Mutex<State>,
    dice: Dice,
}

#[derive(Default, Debug)]
struct State {
    listener: Option<mpsc::UnboundedSender<MemorySocket>>,
    lines: BTreeMap<DeviceNo, Line>,
}

#[derive(Debug)]
struct Line {
    cable: Cable,
    /// Connections so far.
    dials: u64,
}

impl Network {
    pub(crate) fn new(dice: Dice) -> Self {
        Self { state: Mutex::default(), dice }
    }

    /// Connections come in here from now on.
    pub(crate) fn listen(&self) -> mpsc::UnboundedReceiver<MemorySocket> {
        let (listener, incoming) = mpsc::unbounded_channel();
        self.state().listener = Some(listener);
        incoming
    }

    /// Nobody listens.
    pub(crate) fn close(&self) {
        self.state().listener = None;
    }

    /// A device makes a connection; an earlier one is forgotten.
    pub(crate) async fn dial(&self, device: DeviceNo) -> io::Result<MemorySocket> {
        tokio::time::sleep(self.dice.millis(0..4)).await;
        let mut state = self.state();
        let listener = state.listener.clone().ok_or(io::ErrorKind::ConnectionRefused)?;
        let (left, right, cable) = MemorySocket::pair(LINE_BYTES);
        let before = state.lines.get(&device).map_or(0, |line| line.dials);
        state.lines.insert(device, Line { cable, dials: before + 1 });
        drop(state);
        listener.send(right).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(left)
    }

    /// Breaks the device's line; bytes under way are gone.
    pub(crate) fn cut(&self, device: DeviceNo) {
        self.with_line(device, Cable::cut);
    }

    /// Breaks the device's line once `bytes` more were written at `end`.
    pub(crate) fn cut_after(&self, device: DeviceNo, end: End, bytes: usize) {
        self.with_line(device, |cable| cable.cut_after(end, bytes));
    }

    /// Keeps bytes from arriving, both ways.
    pub(crate) fn hold(&self, device: DeviceNo, held: bool) {
        self.with_line(device, |cable| {
            cable.hold(End::Left, held);
            cable.hold(End::Right, held);
        });
    }

    /// The device takes nothing, or goes on.
    pub(crate) fn stall(&self, device: DeviceNo, held: bool) {
        self.with_line(device, |cable| cable.hold(End::Right, held));
    }

    /// Breaks all lines, as the power does.
    pub(crate) fn cut_all(&self) {
        let state = self.state();
        state.lines.values().for_each(|line| line.cable.cut());
    }

    /// Whatever was held goes on.
    pub(crate) fn heal(&self) {
        let devices: Vec<_> = self.state().lines.keys().copied().collect();
        devices.into_iter().for_each(|device| self.hold(device, false));
    }

    /// How often a device has connected.
    pub(crate) fn dials(&self, device: DeviceNo) -> u64 {
        self.state().lines.get(&device).map_or(0, |line| line.dials)
    }

    fn with_line(&self, device: DeviceNo, harm: impl FnOnce(&Cable)) {
        let cable = self.state().lines.get(&device).map(|line| line.cable.clone());
        if let Some(cable) = cable {
            harm(&cable);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code that holds this lock panics")
    }
}
