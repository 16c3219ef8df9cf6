//! Eclipse Mosquitto: an MQTT broker in C, one thread.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::certificates::{Certificates, NAME};
use super::error::PeerError;
use crate::driver::mqtt::Qos;
use crate::engine::target::{Target, TargetError};

const PROGRAM: &str = "mosquitto";
const PACKAGE: &str = "mosquitto";
/// Debian puts it where only root's PATH leads.
const OTHER_PLACES: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];
const TEMPLATE: &str = include_str!("../../peers/mosquitto.conf");
/// Where its errors go, in its directory.
const SAID: &str = "said";
/// Of which so much is quoted, bytes.
const SAID_BYTES_MAX: u64 = 1_024;
/// A free port may be taken by somebody else before it is listened on; then another is tried.
const STARTS_MAX: usize = 3;
/// How long it may take to listen.
const START: Duration = Duration::from_secs(10);
/// Between two looks at whether it does.
const LOOK: Duration = Duration::from_millis(10);

/// A running broker. Dropped, it is killed and its directory removed.
#[derive(Debug)]
pub struct Mosquitto {
    child: Child,
    address: SocketAddr,
    ca_pem: String,
    version: String,
    /// Removed with it.
    directory: TempDir,
}

impl Mosquitto {
    /// Starts one on a free port of the loopback address, and waits until it listens.
    ///
    /// # Errors
    /// [`PeerError`]; nothing is left running.
    pub fn start() -> Result<Self, PeerError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = find(std::env::split_paths(&path).chain(OTHER_PLACES.map(PathBuf::from)))?;
        let version = version(&program)?;
        let certificates = Certificates::make()?;
        let mut start = 1;
        loop {
            match Self::start_once(&program, &version, &certificates) {
                Err(PeerError::Ended { .. }) if start < STARTS_MAX => start += 1,
                other => return other,
            }
        }
    }

    fn start_once(
        program: &Path,
        version: &str,
        certificates: &Certificates,
    ) -> Result<Self, PeerError> {
        let directory = tempfile::tempdir().map_err(PeerError::system("a directory"))?;
        let address = free_address().map_err(PeerError::system("a free port"))?;
        let files = [
            ("leaf.pem", &certificates.leaf),
            ("leaf-key.pem", &certificates.leaf_key),
            ("mosquitto.conf", &render(address, directory.path())),
        ];
        for (name, text) in files {
            fs::write(directory.path().join(name), text)
                .map_err(PeerError::system("a file for mosquitto"))?;
        }
        let said = File::create(directory.path().join(SAID))
            .map_err(PeerError::system("a file for mosquitto"))?;
        let child = Command::new(program)
            .arg("-c")
            .arg(directory.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn()
            .map_err(PeerError::system("starting mosquitto"))?;
        // From here on dropping it ends the process.
        let mut started = Self {
            child,
            address,
            ca_pem: certificates.ca.clone(),
            version: version.into(),
            directory,
        };
        started.await_listening()?;
        Ok(started)
    }

    fn await_listening(&mut self) -> Result<(), PeerError> {
        let begun = Instant::now();
        while begun.elapsed() < START {
            if self.child.try_wait().map_err(PeerError::system("waiting for mosquitto"))?.is_some()
            {
                let said = tail(&self.directory.path().join(SAID));
                return Err(PeerError::Ended { program: PROGRAM, said });
            }
            if TcpStream::connect_timeout(&self.address, START).is_ok() {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Err(PeerError::Deaf { program: PROGRAM, seconds: START.as_secs() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The CA that vouches for it.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it calls itself, such as `mosquitto version 2.0.11`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where the driver is to go.
    ///
    /// # Errors
    /// [`TargetError`]: rustls refuses the configuration.
    pub fn target(&self) -> Result<Target, TargetError> {
        Target::with_ca(self.address, NAME, &self.ca_pem)
    }

    /// What it promises here, for the report: a figure without it is half the truth.
    pub fn guarantees(qos: Qos) -> &'static str {
        match qos {
            Qos::AtMostOnce => {
                "MQTT QoS 0: no acknowledgement, nothing stored; who is away, or loses the \
                 connection, misses messages and is not told; no history, no message numbers, so \
                 no gap can be seen"
            }
            Qos::AtLeastOnce => {
                "MQTT QoS 1, clean sessions: acknowledged from memory, before any member has it; \
                 nothing on disk, so a crash loses what was acknowledged; sent again only on the \
                 same session, so who comes back has missed what came in between and is not told; \
                 duplicates allowed; no history, no message numbers, so no gap can be seen"
            }
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find(mut places: impl Iterator<Item = PathBuf>) -> Result<PathBuf, PeerError> {
    places
        .find_map(|place| Some(place.join(PROGRAM)).filter(|program| program.is_file()))
        .ok_or(PeerError::Missing { program: PROGRAM, package: PACKAGE })
}

/// The first line of its help; it has no option for the version alone.
fn version(program: &Path) -> Result<String, PeerError> {
    let help = Command::new(program)
        .arg("-h")
        .stdin(Stdio::null())
        .output()
        .map_err(PeerError::system("asking mosquitto for its version"))?;
    let text = String::from_utf8_lossy(&help.stdout);
    Ok(text.lines().next().unwrap_or(PROGRAM).trim().to_owned())
}

fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn render(address: SocketAddr, directory: &Path) -> String {
    TEMPLATE
        .replace("{port}", &address.port().to_string())
        .replace("{address}", &address.ip().to_string())
        .replace("{directory}", &directory.display().to_string())
}

/// The end of a file, as text; empty if there is none.
fn tail(path: &Path) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let end = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(end.saturating_sub(SAID_BYTES_MAX)))?;
        let mut bytes = Vec::new();
        file.take(SAID_BYTES_MAX).read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_has_a_place_for_each_thing_and_keeps_none() {
        let rendered = render(([127, 0, 0, 1], 1_234).into(), Path::new("/there"));
        let settings: Vec<&str> =
            rendered.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        assert!(settings.contains(&"listener 1234 127.0.0.1"), "{rendered}");
        assert!(settings.contains(&"keyfile /there/leaf-key.pem"), "{rendered}");
        assert!(!settings.iter().any(|line| line.contains(['{', '}'])), "{rendered}");
    }

    #[test]
    fn who_lacks_it_is_told_what_to_install() {
        let empty = tempfile::tempdir().unwrap();
        let text = find([empty.path().to_owned()].into_iter()).unwrap_err().to_string();
        assert!(text.contains("apt-get install mosquitto"), "{text}");
    }
}
