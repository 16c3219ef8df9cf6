//! A server to test as a process of its own: the binary, its output, its admin page, its end.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// What has not come after so long never will.
const CHANGE_MAX: Duration = Duration::from_secs(20);

/// A server as a process of its own, on free ports.
pub(crate) struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
    address: String,
    admin: String,
    api: String,
    directory: TempDir,
}

impl Process {
    /// Starts the binary with `arguments` beyond its directory and ports, and waits until it serves.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_on(TempDir::new().expect("a temporary directory"), "info", arguments)
    }

    /// The same by this command.
    pub(crate) fn start_as(command: Command, arguments: &[&str]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        Self::run(command, directory, "info", arguments)
    }

    /// Starts one on this directory, perhaps that of another which has ended; `logs` says what
    /// is logged.
    pub(crate) fn start_on(directory: TempDir, logs: &str, arguments: &[&str]) -> Self {
        Self::run(clean(), directory, logs, arguments)
    }

    fn run(mut command: Command, directory: TempDir, logs: &str, arguments: &[&str]) -> Self {
        let log = File::options().create(true).append(true).open(directory.path().join("log"));
        let mut child = command
            .arg("--data")
            .arg(directory.path().join("data"))
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--api", "127.0.0.1:0"])
            .args(arguments)
            .env("DAMSO_LOG", logs)
            .stdout(Stdio::piped())
            .stderr(log.expect("a log file"))
            .spawn()
            .expect("the binary starts");
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        let mut line_behind = |start: &str| loop {
            let mut line = String::new();
            let read = output.read_line(&mut line).expect("text");
            assert_ne!(read, 0, "it ended before it said `{start}`");
            if let Some(rest) = line.strip_prefix(start) {
                return rest.trim().to_owned();
            }
        };
        let address = line_behind("listening on ");
        let admin = line_behind("admin page http://");
        let api = line_behind("API for backends https://");
        let api = api.split(',').next().unwrap_or_default().to_owned();
        Self { child, output, address, admin, api, directory }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Where the admin page is.
    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    /// Where backends ask.
    pub(crate) fn api(&self) -> &str {
        &self.api
    }

    /// The connection string of a person, as `damso token` prints it.
    pub(crate) fn string(&self, uid: &str) -> String {
        let printed = binary(&self.data())
            .args(["token", "--user", uid, "--listen", &self.address])
            .output()
            .expect("the binary runs");
        assert!(printed.status.success(), "{printed:?}");
        String::from_utf8(printed.stdout).expect("text").trim().to_owned()
    }

    /// Status line and body of a page of the admin port.
    pub(crate) fn page(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.admin).expect("the admin port");
        let request = format!("GET {path} HTTP/1.1\r\nHost: damso\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("a request goes out");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
    }

    /// A metric, summed over its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (_, page) = self.page("/metrics");
        let values = page.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let own = series.split('{').next() == Some(name);
            own.then(|| value.parse::<f64>().ok())?
        });
        values.sum()
    }

    /// How often the server counted this, of all that it counts under that name.
    pub(crate) fn counted(&self, name: &str, label: &str) -> f64 {
        let (_, page) = self.page("/metrics");
        let of_label = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
        of_label.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// Looks until it is so.
    pub(crate) fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < CHANGE_MAX, "{what} never came");
            // Asking for a page lets the server turn in between.
            self.page("/healthz");
        }
    }

    /// Memory that it uses, bytes.
    pub(crate) fn resident(&self) -> usize {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.child.id()));
        let statm = statm.expect("a live process");
        let pages: usize = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("pages");
        pages * rustix::param::page_size()
    }

    /// Sockets that it has open. Files are the stores', who open them when they need them.
    pub(crate) fn sockets(&self) -> usize {
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("a live process");
        let links = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    }

    /// Where everything is kept.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal(rustix::process::Signal::TERM);
    }

    /// Sends SIGHUP.
    pub(crate) fn hang_up(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it is running");
    }

    /// Waits for its end; what it said since it serves, and its directory, for another.
    pub(crate) fn wait(mut self) -> (ExitStatus, String, TempDir) {
        let mut said = String::new();
        self.output.read_to_string(&mut said).expect("text");
        let status = self.child.wait().expect("it ends");
        let other = TempDir::new().expect("a temporary directory");
        (status, said, std::mem::replace(&mut self.directory, other))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already, mostly.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The server's binary on `data`, without arguments from the environment.
pub(crate) fn binary(data: &Path) -> Command {
    let mut command = clean();
    command.arg("--data").arg(data);
    command
}

/// The server's binary, without arguments from the environment.
pub(crate) fn clean() -> Command {
    cleaned(Command::new(env!("CARGO_BIN_EXE_damso")))
}

/// The same with so many descriptors.
pub(crate) fn limited(descriptors: usize) -> Command {
    let mut command = cleaned(Command::new("sh"));
    let script = format!("ulimit -n {descriptors}; exec \"$@\"");
    command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_damso")]);
    command
}

fn cleaned(mut command: Command) -> Command {
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.to_string_lossy().starts_with("DAMSO_")) {
        command.env_remove(name);
    }
    command
}
