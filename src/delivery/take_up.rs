//! What a crash left between the directory's transaction and the log, at the next start.

use super::mail::{Mail, Work};
use super::post::Mailboxes;
use crate::model::limits;
use crate::store::directory::{Directory, DirectoryError};

/// Asks the owner of every channel with pending rows to settle them, before anything else
/// is ordered there. Call it once the shards' mailboxes are there.
///
/// # Errors
/// [`DirectoryError`]: the outbox cannot be read; calling again is safe.
pub fn take_up(directory: &dyn Directory, mailboxes: &Mailboxes) -> Result<(), DirectoryError> {
    let mut after = Default::default();
    let mut told = Default::default();
    loop {
        let rows = directory.outbox(after, limits::OUTBOX_PAGE)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.id;
        for row in rows {
            if row.channel == told {
                continue;
            }
            told = row.channel;
            if let Some(mailbox) = mailboxes.owner(row.channel) {
                // A full mailbox leaves the row for the next start, or the channel's next use.
                let settle = Work::Settle { rows: Vec::new(), route: None };
                drop(mailbox.post(Mail::Work(row.channel, settle)));
            }
        }
    }
}
