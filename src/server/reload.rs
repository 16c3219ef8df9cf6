//! The thread that looks at the certificate's files: none of the shards, which a slow disk would
//! stop.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;

use crate::model::limits;
use crate::runtime::clock::RealClock;
use crate::transport::Renewal;

/// Asks for what SIGHUP asks for. The thread ends when this is dropped; nobody waits for it, since
/// it keeps nothing and may hang in a file system that does.
pub(super) enum Reload {
    /// The development certificate: made for this start, and good for longer.
    Nothing,
    /// Of the operator's files.
    Files(SyncSender<()>),
}

impl Reload {
    /// Follows the files, if there are any.
    pub(super) fn spawn(renewal: Option<Renewal>) -> io::Result<Self> {
        let Some(renewal) = renewal else { return Ok(Self::Nothing) };
        // One that waits will read whatever was written before it was asked for.
        let (ask, asked) = sync_channel(1);
        let thread = thread::Builder::new().name("certificate".to_owned());
        thread.spawn(move || follow(renewal, &asked))?;
        Ok(Self::Files(ask))
    }

    /// Has the files read. Waits for nothing.
    pub(super) fn ask(&self) {
        match self {
            Self::Nothing => {
                tracing::info!("nothing to reload: a development certificate is made at the start");
            }
            // Full: one waits already.
            Self::Files(ask) => drop(ask.try_send(())),
        }
    }
}

fn follow(mut renewal: Renewal, asked: &Receiver<()>) {
    let clock = RealClock::new();
    loop {
        renewal.remind(&clock);
        match asked.recv_timeout(limits::CERTIFICATE_LOOK) {
            Ok(()) => drop(renewal.reload()),
            Err(RecvTimeoutError::Timeout) => drop(renewal.look()),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
