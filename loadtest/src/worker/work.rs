//! Orders in, reports out.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::Path;

use super::order::{Aim, Config, Order, Report};
use super::world::{ORDERS, WorkError, World};
use crate::driver::damso::Damso;
use crate::driver::mqtt::{Mqtt, Qos};
use crate::driver::{Driver, Setting};
use crate::engine::target::Target;
use crate::peers;
use crate::scenario::layout::Layout;

/// The longest order, bytes.
const ORDER_BYTES_MAX: usize = 256 * 1024;

/// Works through orders from standard input until it ends. The first line is the configuration.
///
/// # Errors
/// The controller is gone, or says what no worker understands. Everything else is reported to it.
pub fn work() -> io::Result<()> {
    let config: Config = serde_json::from_slice(&first_line()?)?;
    match config.target.clone() {
        Aim::Damso { url, token_key } => serve(damso(config, &url, token_key.as_deref())),
        Aim::Mqtt { address, ca, qos } => serve(mqtt(config, address, &ca, qos)),
    }
}

fn damso(config: Config, url: &str, key: Option<&Path>) -> Result<World<Damso>, WorkError> {
    let driver = Damso::new(setting(&config), Target::parse(url)?, key)?;
    World::new(config, driver)
}

fn mqtt(config: Config, to: SocketAddr, ca: &str, qos: u8) -> Result<World<Mqtt>, WorkError> {
    let target = Target::with_ca(to, peers::NAME, ca)?;
    let qos = if qos == 0 { Qos::AtMostOnce } else { Qos::AtLeastOnce };
    let driver = Mqtt::new(setting(&config), target, qos);
    World::new(config, driver)
}

fn serve<D: Driver>(world: Result<World<D>, WorkError>) -> io::Result<()> {
    let mut world = match world {
        Ok(world) => world,
        Err(error) => return tell(&failed(&error)),
    };
    while let Some(order) = next_order(&mut world)? {
        let report = carry_out(&mut world, order);
        tell(&report.unwrap_or_else(|error| failed(&error)))?;
    }
    world.leave();
    Ok(())
}

fn setting(config: &Config) -> Setting {
    Setting {
        run: config.run,
        worker: config.worker,
        layout: Layout::new(config.people, &config.classes),
        check: config.check,
    }
}

/// The first line, read byte by byte: what follows belongs to the loop.
fn first_line() -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < ORDER_BYTES_MAX && rustix::io::read(io::stdin(), &mut byte)? == 1 {
        if byte[0] == b'\n' {
            break;
        }
        line.push(byte[0]);
    }
    Ok(line)
}

/// Says something to the controller.
pub(super) fn tell(report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

fn failed(error: &WorkError) -> Report {
    let unreachable = matches!(error, WorkError::Unreachable(_));
    Report::Failed { unreachable, what: error.to_string() }
}

/// Serves connections until an order comes. `None`: the controller is gone.
fn next_order<D: Driver>(world: &mut World<D>) -> io::Result<Option<Order>> {
    loop {
        if let Some(end) = world.orders.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = world.orders.drain(..=end).collect();
            return Ok(Some(serde_json::from_slice(&line)?));
        }
        if world.over {
            return Ok(None);
        }
        world.turn(None).map_err(io::Error::other)?;
    }
}

fn carry_out<D: Driver>(world: &mut World<D>, order: Order) -> Result<Report, WorkError> {
    match order {
        Order::Connect => world.connect(),
        Order::SetUp => world.set_up(),
        Order::Run(phase) => world.run_phase(phase),
        Order::Move { url } => world.move_to(Target::parse(&url)?),
        Order::Fill(fill) => world.fill(fill),
        Order::Judge { history } => world.judge(history),
    }
}

impl<D: Driver> World<D> {
    pub(super) fn read_orders(&mut self) -> Result<(), WorkError> {
        let mut buffer = [0; 4_096];
        match rustix::io::read(io::stdin(), &mut buffer) {
            Ok(0) => {
                self.over = true;
                self.poll.forget(io::stdin().as_fd())?;
            }
            Ok(read) if self.orders.len() + read <= ORDER_BYTES_MAX => {
                self.orders.extend_from_slice(&buffer[..read]);
            }
            Ok(_) => return Err(WorkError::Refused("an order without an end".into())),
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        Ok(())
    }

    /// Standard input is watched for orders from now on.
    pub(super) fn watch_orders(&self) -> io::Result<()> {
        self.poll.watch_level(io::stdin().as_fd(), ORDERS)?;
        Ok(rustix::io::ioctl_fionbio(io::stdin(), true)?)
    }
}
