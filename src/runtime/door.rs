//! Where blocking work goes: a few threads of their own behind one bounded queue.
//!
//! ```text
//! shard --call(job)--> | queue, bounded | --> thread 1..n: job() --> the caller's future
//!          full: refused at once
//! ```

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::{io, panic, thread};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Why there is no result.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum DoorError {
    /// Surely not run: too much blocking work waits already. Try again later.
    #[error("too much blocking work is waiting")]
    Full,
    /// It panicked midway: what it did is unknown. The panic itself is in the log.
    #[error("the work panicked")]
    Panicked,
}

/// A door to threads that may block. Clones lead to the same threads.
#[derive(Clone, Debug)]
pub struct Door(Arc<Inner>);

#[derive(Debug)]
enum Inner {
    Inline,
    Pool(Pool),
}

#[derive(Debug)]
struct Pool {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

struct Queue {
    /// Callers push, threads pop: never held while a job runs.
    state: Mutex<State>,
    arrived: Condvar,
    waiting_max: usize,
    refused: AtomicU64,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closing: bool,
}

impl Door {
    /// Starts `threads` threads called `name`; at most `waiting_max` jobs wait for one.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn new(name: &str, threads: usize, waiting_max: usize) -> io::Result<Self> {
        let queue = Arc::new(Queue {
            state: Mutex::default(),
            arrived: Condvar::new(),
            waiting_max,
            refused: AtomicU64::new(0),
        });
        // Made before the threads, so that those already started end if a later one fails.
        let mut pool = Pool { queue, threads: Vec::with_capacity(threads) };
        for number in 0..threads.max(1) {
            let queue = Arc::clone(&pool.queue);
            let builder = thread::Builder::new().name(format!("{name}-{number}"));
            pool.threads.push(builder.spawn(move || queue.work())?);
        }
        Ok(Self(Arc::new(Inner::Pool(pool))))
    }

    /// A door without threads: the job runs within `call`. For simulation, where one
    /// thread does everything in an order that repeats.
    pub fn inline() -> Self {
        Self(Arc::new(Inner::Inline))
    }

    /// Has `job` run. It is queued before this returns and runs even if the future is dropped.
    ///
    /// # Errors
    /// [`DoorError::Full`]: surely not run. [`DoorError::Panicked`]: perhaps half done.
    pub fn call<R, F>(
        &self,
        job: F,
    ) -> impl Future<Output = Result<R, DoorError>> + Send + use<R, F>
    where
        R: Send + 'static,
        F: FnOnce() -> R + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let taken = self.submit(move || {
            // Nobody may be waiting any more, and that is all right.
            let _ = answer.send(job());
        });
        async move {
            taken?;
            answered.await.map_err(|_| DoorError::Panicked)
        }
    }

    /// Has `job` run. Whoever waits for it is told by the job itself.
    ///
    /// # Errors
    /// [`DoorError::Full`]: surely not run.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) -> Result<(), DoorError> {
        let job: Job = Box::new(job);
        match &*self.0 {
            Inner::Inline => {
                run(job);
                Ok(())
            }
            Inner::Pool(pool) if pool.queue.push(job) => Ok(()),
            Inner::Pool(_) => Err(DoorError::Full),
        }
    }

    /// How many jobs wait for a thread; for the gauge.
    pub fn waiting(&self) -> usize {
        match &*self.0 {
            Inner::Inline => 0,
            Inner::Pool(pool) => pool.queue.lock().jobs.len(),
        }
    }

    /// How many jobs were refused since the start.
    pub fn refused(&self) -> u64 {
        match &*self.0 {
            Inner::Inline => 0,
            Inner::Pool(pool) => pool.queue.refused.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Pool {
    /// Waits until all that was queued has run.
    fn drop(&mut self) {
        self.queue.lock().closing = true;
        self.queue.arrived.notify_all();
        for handle in self.threads.drain(..) {
            // A job may hold the last clone of its own door: a thread cannot wait for itself.
            if handle.thread().id() != thread::current().id() && handle.join().is_err() {
                tracing::error!("a thread of the blocking door ended by a panic");
            }
        }
    }
}

impl Queue {
    fn push(&self, job: Job) -> bool {
        let mut state = self.lock();
        if state.jobs.len() >= self.waiting_max {
            drop(state);
            self.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        state.jobs.push_back(job);
        drop(state);
        self.arrived.notify_one();
        true
    }

    /// A thread's life: jobs until the door closes and none is left.
    fn work(&self) {
        loop {
            let mut state = self.lock();
            let job = loop {
                if let Some(job) = state.jobs.pop_front() {
                    break job;
                }
                if state.closing {
                    return;
                }
                state = self.arrived.wait(state).expect("no code that holds this lock panics");
            };
            drop(state);
            run(job);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code that holds this lock panics")
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("waiting_max", &self.waiting_max).finish_non_exhaustive()
    }
}

/// Runs a job; its panic ends the job alone. The job's answer is dropped with it, which
/// its caller sees.
fn run(job: Job) {
    if panic::catch_unwind(AssertUnwindSafe(job)).is_err() {
        tracing::error!("blocking work panicked");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    use super::*;

    fn wait<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    #[test]
    fn the_answer_comes_back_from_another_thread() {
        let door = Door::new("test", 2, 8).unwrap();
        let worker = wait(door.call(|| thread::current().id())).unwrap();
        assert_ne!(worker, thread::current().id());
    }

    #[test]
    fn an_inline_door_has_run_the_job_when_call_returns() {
        let (ran, runs) = mpsc::channel();
        let future = Door::inline().call(move || ran.send(thread::current().id()).unwrap());
        assert_eq!(runs.try_recv(), Ok(thread::current().id()));
        assert_eq!(wait(future), Ok(()));
    }

    #[test]
    fn a_full_door_refuses_at_once_and_keeps_what_it_took() {
        let door = Door::new("test", 1, 1).unwrap();
        let (began, begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let running = door.call(move || {
            began.send(()).unwrap();
            released.recv().unwrap();
            1
        });
        begun.recv().unwrap();
        let waiting = door.call(|| 2);
        assert_eq!(door.waiting(), 1);
        assert_eq!(wait(door.call(|| 3)), Err(DoorError::Full));
        assert_eq!(door.refused(), 1);
        release.send(()).unwrap();
        assert_eq!((wait(running), wait(waiting)), (Ok(1), Ok(2)));
    }

    #[test]
    fn a_panic_is_an_error_of_its_caller_alone() {
        for door in [Door::new("test", 1, 8).unwrap(), Door::inline()] {
            assert_eq!(wait(door.call(|| panic!("on purpose"))), Err::<(), _>(DoorError::Panicked));
            assert_eq!(wait(door.call(|| 1)), Ok(1), "the thread lives on");
        }
    }

    #[test]
    fn dropping_the_door_waits_for_all_that_was_queued() {
        let done = Arc::new(AtomicUsize::new(0));
        let door = Door::new("test", 2, 100).unwrap();
        for _ in 0..100 {
            let done = Arc::clone(&done);
            drop(door.call(move || done.fetch_add(1, Ordering::Relaxed)));
        }
        drop(door);
        assert_eq!(done.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn a_job_that_holds_the_last_door_does_not_wait_for_itself() {
        let door = Door::new("test", 1, 8).unwrap();
        let (ended, ends) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let inner = door.clone();
        drop(door.call(move || {
            released.recv().unwrap();
            drop(inner);
            ended.send(()).unwrap();
        }));
        drop(door);
        release.send(()).unwrap();
        ends.recv().unwrap();
    }
}
