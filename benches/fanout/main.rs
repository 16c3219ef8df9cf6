//! What a delivery costs: the server's own `connections` against the bare loop, in one run.
//!
//! `cargo bench --bench fanout -- [--connections N] [--seconds S] [--pairs K] [--backlog W] [--json]`
//!
//! ```text
//! this process, one thread on core 0            child process on core 1
//!   product: tokio, Connections, N TLS sockets --> drains every socket in the kernel, spinning,
//!   bare:    epoll, rustls, send, N TLS sockets -> and tells how many bytes it took
//! ```
//!
//! Windows of the two take turns, so that neighbours and clocks harm both alike; what counts is
//! their ratio in CPU time of the thread per delivery. A pair in which the hypervisor took more than
//! 2 % of the machine is rejected, and counted. Three shapes:
//!
//! - `broadcast`: one channel of everybody, one message at a time; nothing ever waits.
//! - `groups`: channels of ten, one message at a time.
//! - `backlog`: channels of ten, `W` messages always unsent; the bare loop sends each by itself.
//!
//! Under `cargo test` it runs tiny, so that it keeps working.

mod bare; //     epoll, rustls, send: what a delivery must cost
mod drain; //    the client's side, in a process of its own
mod frames; //   the messages
mod measure; //  clocks, steal, windows
mod product; //  the server's own code
mod report; //   the table

use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bare::Bare;
use damso::model::limits;
use drain::Drained;
use measure::{Pair, Window};
use product::Product;
use socket2::SockRef;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Descriptors of a process: two sockets per connection, and a few of its own.
const DESCRIPTORS_MAX: usize = 20_000 - 100;
/// Members of a small channel.
const GROUP: usize = 10;

/// How messages come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Shape {
    Broadcast,
    Groups,
    Backlog,
}

/// What is asked for.
#[derive(Clone, Debug)]
struct Plan {
    connections: usize,
    window: Duration,
    pairs: usize,
    backlog: usize,
    json: bool,
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, control, product, bare, connections] = arguments.as_slice()
        && mode == drain::MODE
    {
        let ports = [control.parse()?, product.parse()?, bare.parse()?];
        return drain::run(ports, connections.parse()?);
    }
    let plan = plan(&arguments)?;
    let rows = run(&plan)?;
    report::print(&plan, &rows);
    Ok(())
}

fn plan(arguments: &[String]) -> Outcome<Plan> {
    let measured = arguments.iter().any(|argument| argument == "--bench");
    let mut plan = Plan {
        connections: if measured { 10_000 } else { 40 },
        window: Duration::from_millis(if measured { 700 } else { 10 }),
        pairs: if measured { 7 } else { 1 },
        backlog: if measured { 5_000 } else { 40 },
        json: false,
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--connections" => plan.connections = value()?.parse()?,
            "--seconds" => plan.window = Duration::from_secs_f64(value()?.parse()?),
            "--pairs" => plan.pairs = value()?.parse()?,
            "--backlog" => plan.backlog = value()?.parse()?,
            "--json" => plan.json = true,
            // Cargo's own, and filters meant for other benches.
            _ => {}
        }
    }
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = limit.current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let most = DESCRIPTORS_MAX.min(limit.saturating_sub(100)) / 2;
    plan.connections = plan.connections.min(most).max(GROUP) / GROUP * GROUP;
    Ok(plan)
}

/// One line of the table.
struct Row {
    shape: Shape,
    pairs: Vec<Pair>,
}

/// The rows, and what the product's connections take at rest.
struct Rows {
    rows: Vec<Row>,
    bytes_per_connection: usize,
}

fn run(plan: &Plan) -> Outcome<Rows> {
    measure::pin(0);
    let [control, product, bare] = [0; 3].map(|_| TcpListener::bind("127.0.0.1:0"));
    let (control, product, bare) = (control?, product?, bare?);
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(drain::MODE);
    for listener in [&control, &product, &bare] {
        command.arg(listener.local_addr()?.port().to_string());
    }
    let mut child = command.arg(plan.connections.to_string()).stdin(Stdio::null()).spawn()?;
    let outcome = measure_all(plan, &control, product, &bare);
    child.kill()?;
    child.wait()?;
    outcome
}

fn measure_all(
    plan: &Plan,
    control: &TcpListener,
    product: TcpListener,
    bare: &TcpListener,
) -> Outcome<Rows> {
    let tls = drain::server_config()?;
    let mut drained = Drained::accept(control)?;
    let before = measure::resident_bytes()?;
    let mut product = Product::accept(plan, product, &tls)?;
    let taken = measure::resident_bytes()?.saturating_sub(before);
    let mut bare = Bare::accept(plan, bare, &tls)?;
    let mut rows = Vec::new();
    for shape in [Shape::Broadcast, Shape::Groups, Shape::Backlog] {
        let mut pairs = Vec::new();
        // The first pair only warms up.
        for round in 0..=plan.pairs {
            let until = || Instant::now() + plan.window;
            let product = Window::over(|| product.run(shape, until(), &mut drained))?;
            let bare = Window::over(|| bare.run(shape, until(), &mut drained))?;
            if round > 0 {
                pairs.push(Pair { product, bare });
            }
        }
        rows.push(Row { shape, pairs });
    }
    Ok(Rows { rows, bytes_per_connection: taken / plan.connections })
}

/// The same socket options for both, those of the server.
fn tune(socket: &impl AsFd) -> Outcome<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_send_buffer_size(limits::SOCKET_SEND_BUFFER_BYTES)?;
    socket.set_tcp_notsent_lowat(u32::try_from(limits::SOCKET_SEND_BUFFER_BYTES)?)?;
    Ok(())
}
