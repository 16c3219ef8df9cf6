//! Where a shard receives: posted to from any thread, taken whole by its one reader.
//!
//! ```text
//! any thread --post_all--> | Vec |  --take--> the reader's own Vec, once per turn
//!              one lock,             one lock
//!              one wake if it was empty
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;

/// How long a thread that must post waits for a reader that is behind, before it tries again.
const FULL_PAUSE: Duration = Duration::from_millis(1);

/// A bounded queue of `T` with one reader.
#[derive(Debug)]
pub struct Mailbox<T> {
    /// Posters push, the reader swaps it for an empty one: held for a few moves, never over a call.
    items: Mutex<Vec<T>>,
    wake: Notify,
    capacity: usize,
    refused: AtomicU64,
}

/// The mailbox has no room; nothing was posted. The reader is behind.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("the mailbox has no room: its reader is behind")]
pub struct Full;

impl<T> Mailbox<T> {
    /// A mailbox for at most `capacity` items.
    pub fn new(capacity: usize) -> Self {
        Self {
            items: Mutex::new(Vec::new()),
            wake: Notify::new(),
            capacity,
            refused: AtomicU64::new(0),
        }
    }

    /// Posts one item.
    ///
    /// # Errors
    /// [`Full`] with the item; posting it again later is safe.
    pub fn post(&self, item: T) -> Result<(), (Full, T)> {
        let mut items = self.lock();
        if items.len() >= self.capacity {
            drop(items);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err((Full, item));
        }
        items.push(item);
        self.wake_if_first(items, 1);
        Ok(())
    }

    /// Posts one item, however long the reader takes to make room. Blocks: for threads whose
    /// item must not be lost, and which a reader that is behind may slow down. Returns how often
    /// there was no room.
    pub fn insist(&self, mut item: T) -> u64 {
        let mut refused = 0;
        while let Err((_, back)) = self.post(item) {
            refused += 1;
            thread::sleep(FULL_PAUSE);
            item = back;
        }
        refused
    }

    /// Posts all of `batch` in its order, or nothing. `batch` is left empty, its memory kept.
    ///
    /// # Errors
    /// [`Full`]; `batch` is as it was, and posting it again later is safe.
    pub fn post_all(&self, batch: &mut Vec<T>) -> Result<(), Full> {
        let posted = batch.len();
        if posted == 0 {
            return Ok(());
        }
        let mut items = self.lock();
        if self.capacity - items.len() < posted {
            drop(items);
            self.refused.fetch_add(posted as u64, Ordering::Relaxed);
            return Err(Full);
        }
        items.append(batch);
        self.wake_if_first(items, posted);
        Ok(())
    }

    /// Moves everything that has arrived to the end of `into`.
    pub fn take(&self, into: &mut Vec<T>) {
        let mut items = self.lock();
        if into.is_empty() {
            // The reader's empty vector becomes the next inbox: no allocation at rest.
            std::mem::swap(&mut *items, into);
        } else {
            into.append(&mut items);
        }
    }

    /// Waits until something is there to take. Dropping the future loses nothing.
    pub async fn arrived(&self) {
        // Looked at first: a wake that an earlier reader swallowed must not be missed.
        while self.is_empty() {
            self.wake.notified().await;
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many items wait; for the gauge.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// How many items were refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn wake_if_first(&self, items: MutexGuard<'_, Vec<T>>, posted: usize) {
        let was_empty = items.len() == posted;
        drop(items);
        if was_empty {
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.items.lock().expect("no code that holds this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn current_thread() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn everything_posted_from_any_thread_arrives_once_in_its_posters_order() {
        const POSTERS: u64 = 4;
        const EACH: u64 = 2_000;
        let mailbox = Arc::new(Mailbox::new(usize::MAX));
        let posters: Vec<_> = (0..POSTERS)
            .map(|poster| {
                let mailbox = Arc::clone(&mailbox);
                thread::spawn(move || {
                    for pair in 0..EACH / 2 {
                        let mut batch = vec![(poster, 2 * pair), (poster, 2 * pair + 1)];
                        mailbox.post_all(&mut batch).unwrap();
                    }
                })
            })
            .collect();
        let mut next = [0; POSTERS as usize];
        current_thread().block_on(async {
            let mut taken = Vec::new();
            while next.iter().sum::<u64>() < POSTERS * EACH {
                mailbox.arrived().await;
                mailbox.take(&mut taken);
                for (poster, number) in taken.drain(..) {
                    assert_eq!(number, next[poster as usize], "poster {poster}");
                    next[poster as usize] += 1;
                }
            }
        });
        posters.into_iter().for_each(|poster| poster.join().unwrap());
        assert!(mailbox.is_empty());
    }

    #[test]
    fn a_batch_that_does_not_fit_stays_whole_with_its_poster() {
        let mailbox = Mailbox::new(3);
        assert_eq!(mailbox.post_all(&mut vec![1, 2]), Ok(()));
        let mut batch = vec![3, 4];
        assert_eq!(mailbox.post_all(&mut batch), Err(Full));
        assert_eq!(batch, [3, 4]);
        assert_eq!(mailbox.post(3), Ok(()));
        assert_eq!(mailbox.post(4), Err((Full, 4)));
        assert_eq!(mailbox.refused(), 3);
        let mut taken = vec![0];
        mailbox.take(&mut taken);
        assert_eq!(taken, [0, 1, 2, 3]);
    }

    #[test]
    fn whoever_insists_waits_for_room() {
        let mailbox = Arc::new(Mailbox::new(1));
        assert_eq!(mailbox.insist(1), 0);
        let full = mailbox.clone();
        let insisting = thread::spawn(move || full.insist(2));
        let mut taken = Vec::new();
        while taken.len() < 2 {
            if mailbox.refused() > 0 {
                mailbox.take(&mut taken);
            }
            thread::yield_now();
        }
        assert_eq!(taken, [1, 2]);
        assert!(insisting.join().unwrap() > 0);
    }

    #[test]
    fn a_wait_that_was_given_up_loses_no_arrival() {
        let mailbox = Mailbox::new(8);
        current_thread().block_on(async {
            {
                let mut given_up = Box::pin(mailbox.arrived());
                assert!(poll_once(&mut given_up).await.is_pending());
                mailbox.post(1).unwrap();
            }
            mailbox.arrived().await;
            // Arrived but not taken: it is still there for the next wait.
            mailbox.arrived().await;
            let mut taken = Vec::new();
            mailbox.take(&mut taken);
            assert_eq!(taken, [1]);
        });
    }

    async fn poll_once<F: Future + Unpin>(future: &mut F) -> std::task::Poll<F::Output> {
        std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx)))
            .await
    }
}
