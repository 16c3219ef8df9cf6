//! A letter to a shard from a thread that is none, and the wait for its answer.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::delivery::{Mail, Order};
use crate::runtime::mailbox::Mailbox;

/// A shard whose mailbox is full gets the letter after this long, or later.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// Has a shard do something with its sessions, and waits for what it says. `None`: it has not been
/// heard of in time; what it does is unknown.
pub(super) async fn ask<T>(
    mailbox: &Mailbox<Mail>,
    order: impl FnOnce(oneshot::Sender<T>) -> Order,
    patience: Duration,
) -> Option<T> {
    let (done, said) = oneshot::channel();
    let asked = async {
        let mut letter = Mail::Order(order(done));
        while let Err((_, back)) = mailbox.post(letter) {
            letter = back;
            tokio::time::sleep(FULL_PAUSE).await;
        }
        said.await.ok()
    };
    tokio::time::timeout(patience, asked).await.ok().flatten()
}
