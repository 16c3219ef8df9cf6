//! The threads of the API and of the admin port: their runtimes, their ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use damso_proto::id::Uid;

use super::identity::Identity;
use crate::admin;
use crate::api::{self, Api, Issued, Tokens};
use crate::runtime::shutdown::Watch;
use crate::transport::{self, Web};

/// Behind everybody who waits for the same core: a backend can wait, people notice.
const NICE: i32 = 5;

/// Starts the API's thread. `drained` is dropped once it answers nobody any more.
pub(super) fn spawn(
    web: Web,
    parts: api::Parts,
    shutdown: Watch,
    drained: Sender<()>,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let routes = api::router(Arc::new(Api::new(parts)));
    std::thread::Builder::new().name("api".to_owned()).spawn(move || {
        // Of this thread alone: the system counts threads as processes here.
        if let Err(why) = rustix::process::setpriority_process(None, NICE) {
            tracing::info!(%why, "the API's priority stays as it is");
        }
        if let Err(error) = runtime.block_on(transport::serve_web(web, routes, shutdown)) {
            tracing::error!(%error, "the API ended");
        }
        drop(drained);
    })
}

/// Starts the admin port's thread: it answers until everything has stopped.
pub(super) fn spawn_admin(
    web: Web,
    parts: admin::Parts,
    shutdown: Watch,
) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let routes = admin::router(parts);
    std::thread::Builder::new().name("admin".to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(transport::serve_web(web, routes, shutdown)) {
            tracing::error!(%error, "the admin port ended");
        }
    })
}

/// The built-in issuer, if there is one.
pub(super) struct OwnTokens {
    pub(super) identity: Arc<Identity>,
    /// Where chat clients connect.
    pub(super) address: SocketAddr,
}

impl Tokens for OwnTokens {
    fn issue(&self, uid: &Uid, good_for: Duration) -> Option<Issued> {
        let token = self.identity.token(uid, good_for)?;
        let connection_string = self.identity.string_with(self.address, &token)?;
        Some(Issued { token, connection_string })
    }
}
