//! A server to test in this process, with a directory that goes with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser as _;
use damso::model::device::DeviceId;
use damso::requests::RevokeError;
use damso::server::{Cli, Config, Server};
use damso_proto::id::Uid;
use tempfile::TempDir;

/// Arguments of a server of two shards whose people may ask as often as they like.
pub(crate) const UNBOUND: [&str; 8] = [
    "--shards",
    "2",
    "--sends-per-user",
    "900000/s burst 1000000",
    "--reads-per-user",
    "1000000/s burst 1000000",
    "--sends-per-channel",
    "1000000/s burst 1000000",
];

/// How long tokens of tests are good for.
const GOOD_FOR: Duration = Duration::from_secs(3_600);

/// A server in this process on free ports.
pub(crate) struct Local {
    server: Option<Server>,
    directory: TempDir,
}

impl Local {
    /// Starts one with `arguments` beyond its directory and ports.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let server = Server::start(config(directory.path(), arguments)).expect("a server");
        Self { server: Some(server), directory }
    }

    /// The connection string of a person.
    pub(crate) fn string(&self, uid: &str) -> String {
        let server = self.server.as_ref().expect("a running server");
        server.connection_string(uid, GOOD_FOR).expect("a uid")
    }

    /// Has it read its files again, as SIGHUP does.
    pub(crate) fn reload(&self) {
        self.server.as_ref().expect("a running server").reload();
    }

    /// Revokes a person's tokens, or one device; how many sessions that ended.
    pub(crate) fn revoke(&self, uid: &str, device: Option<&str>) -> Result<usize, RevokeError> {
        let revoker = self.server.as_ref().expect("a running server").revoker();
        let uid = Uid::parse(uid).expect("a uid");
        let device = device.map(|device| DeviceId::parse(device).expect("a device"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let revoked = runtime.expect("a runtime").block_on(revoker.revoke(uid, device));
        revoked.map(|revoked| revoked.sessions)
    }

    /// Where everything is kept.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Stops it as SIGTERM does, and starts another on the same directory.
    pub(crate) fn restart(&mut self, arguments: &[&str]) {
        self.server.take().expect("a running server").stop();
        let config = config(self.directory.path(), arguments);
        self.server = Some(Server::start(config).expect("a server on the same directory"));
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
        }
    }
}

fn config(directory: &Path, arguments: &[&str]) -> Config {
    let data = directory.join("data");
    let own = [
        "damso",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--api",
        "127.0.0.1:0",
        "--data",
    ];
    let own = own.into_iter().map(std::ffi::OsString::from).chain([data.into_os_string()]);
    let more = arguments.iter().map(std::ffi::OsString::from);
    let cli = Cli::try_parse_from(own.chain(more)).expect("good arguments");
    cli.config([]).expect("a good configuration")
}
