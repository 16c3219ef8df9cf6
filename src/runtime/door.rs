//! Where blocking work goes: a few threads of their own behind one bounded queue.
//!
//! ```text
//! shard --call(job)--> | queue, bounded | --> thread 1..n: job() --> the caller's future
//!          full: refused at once
//! ```
//!
//! What a job allocates is freed by others, mostly, and an allocator with a heap per thread takes
//! that back when the thread works again. A thread that has nothing to do keeps it, unless it ends:
//! [`Threads::renew`] has each such one give its place to another.
//!
//! A [`Door::stepped`] has no threads: a simulation takes jobs out in an order of its own,
//! and decides when each runs and when its result arrives.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread::JoinHandle;
use std::{io, panic, thread};

use tokio::sync::{Notify, oneshot};

/// Does the work. A panic of it ends nothing but the job.
type Job = Box<dyn FnOnce() -> Done + Send>;

/// Work that was done, and whose result nobody has been told yet.
pub struct Done {
    deliver: Box<dyn FnOnce() + Send>,
    /// It panicked, which is what its caller will be told.
    pub panicked: bool,
}

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
    Inline(Queue),
    Stepped(Arc<Queue>),
    Pool(Pool),
}

/// The other side of a stepped door.
#[derive(Clone, Debug)]
pub struct Steps(Arc<Queue>);

/// The threads of a door, for whoever does not keep it from closing.
#[derive(Clone, Debug)]
pub struct Threads(Weak<Queue>);

/// Work that was taken out of a stepped door.
pub struct Step(Job);

#[derive(Debug)]
struct Pool {
    queue: Arc<Queue>,
}

struct Queue {
    /// Callers push, threads pop: never held while a job runs.
    state: Mutex<State>,
    arrived: Condvar,
    /// The same for a task that takes steps.
    step: Notify,
    waiting_max: usize,
    refused: AtomicU64,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closing: bool,
    /// How often threads with nothing to do were to be renewed.
    renewals: u64,
    threads: Vec<JoinHandle<()>>,
}

/// Why a thread does no more jobs.
#[derive(PartialEq, Eq)]
enum Left {
    /// The door is closed, and nothing waits.
    Closed,
    /// Another is to take its place.
    ToBeRenewed,
}

impl Door {
    /// Starts `threads` threads called `name`; at most `waiting_max` jobs wait for one.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn new(name: &str, threads: usize, waiting_max: usize) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(waiting_max));
        // Made before the threads, so that those already started end if a later one fails.
        let pool = Pool { queue };
        for number in 0..threads.max(1) {
            pool.queue.seat(format!("{name}-{number}"))?;
        }
        Ok(Self(Arc::new(Inner::Pool(pool))))
    }

    /// A door without threads: the work is done, and its result delivered, within the call.
    /// For tests that are one thread.
    pub fn inline() -> Self {
        Self(Arc::new(Inner::Inline(Queue::new(0))))
    }

    /// A door without threads, and the other side of it: whoever holds that does the work,
    /// in an order that a simulation repeats. At most `waiting_max` jobs wait.
    pub fn stepped(waiting_max: usize) -> (Self, Steps) {
        let queue = Arc::new(Queue::new(waiting_max));
        (Self(Arc::new(Inner::Stepped(queue.clone()))), Steps(queue))
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
        // Nobody may be waiting any more, and that is all right.
        let taken = self.submit(job, move |result| drop(answer.send(result)));
        async move {
            taken?;
            // Without an answer it was never run, and never will be: the process ends.
            answered.await.unwrap_or(Err(DoorError::Full))
        }
    }

    /// Has `job` run, and `deliver` called with its result, or with its panic, on the same thread.
    ///
    /// # Errors
    /// [`DoorError::Full`]: surely not run.
    pub fn submit<R: Send + 'static>(
        &self,
        job: impl FnOnce() -> R + Send + 'static,
        deliver: impl FnOnce(Result<R, DoorError>) + Send + 'static,
    ) -> Result<(), DoorError> {
        let job: Job = Box::new(move || {
            let result = panic::catch_unwind(AssertUnwindSafe(job));
            let result = result.map_err(|_| DoorError::Panicked);
            let panicked = result.is_err();
            Done { deliver: Box::new(move || deliver(result)), panicked }
        });
        if let Inner::Inline(_) = &*self.0 {
            job().deliver();
            return Ok(());
        }
        if self.queue().push(job) { Ok(()) } else { Err(DoorError::Full) }
    }

    /// Its threads; none, if it has none.
    pub fn threads(&self) -> Threads {
        Threads(match &*self.0 {
            Inner::Pool(pool) => Arc::downgrade(&pool.queue),
            Inner::Inline(_) | Inner::Stepped(_) => Weak::new(),
        })
    }

    /// How many jobs wait for a thread; for the gauge.
    pub fn waiting(&self) -> usize {
        self.queue().lock().jobs.len()
    }

    /// How many jobs were refused since the start.
    pub fn refused(&self) -> u64 {
        self.queue().refused.load(Ordering::Relaxed)
    }

    fn queue(&self) -> &Queue {
        match &*self.0 {
            Inner::Inline(queue) => queue,
            Inner::Stepped(queue) => queue,
            Inner::Pool(pool) => &pool.queue,
        }
    }
}

impl Threads {
    /// Has those that have nothing to do end, each once another has begun in its place.
    pub fn renew(&self) {
        if let Some(queue) = self.0.upgrade() {
            queue.lock().renewals += 1;
            queue.arrived.notify_all();
        }
    }
}

impl Steps {
    /// Waits until work waits. Dropping the future loses nothing.
    pub async fn arrived(&self) {
        while self.0.lock().jobs.is_empty() {
            self.0.step.notified().await;
        }
    }

    /// Takes one of the jobs that wait: number `pick`, counted in circles from the oldest.
    pub fn take(&self, pick: usize) -> Option<Step> {
        let mut state = self.0.lock();
        let waiting = state.jobs.len();
        let job = state.jobs.remove(pick.checked_rem(waiting)?)?;
        if waiting > 1 {
            self.0.step.notify_one();
        }
        Some(Step(job))
    }
}

impl Step {
    /// Does the work.
    pub fn run(self) -> Done {
        (self.0)()
    }
}

impl Done {
    /// Tells the result to whoever waits for it.
    pub fn deliver(self) {
        if self.panicked {
            tracing::error!("blocking work panicked");
        }
        (self.deliver)();
    }
}

impl Drop for Pool {
    /// Waits until all that was queued has run.
    fn drop(&mut self) {
        self.queue.lock().closing = true;
        self.queue.arrived.notify_all();
        loop {
            // A thread that is being renewed has named the other before it ends.
            let Some(handle) = self.queue.lock().threads.pop() else { return };
            // A job may hold the last clone of its own door: a thread cannot wait for itself.
            if handle.thread().id() != thread::current().id() && handle.join().is_err() {
                tracing::error!("a thread of the blocking door ended by a panic");
            }
        }
    }
}

impl Queue {
    fn new(waiting_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            arrived: Condvar::new(),
            step: Notify::new(),
            waiting_max,
            refused: AtomicU64::new(0),
        }
    }

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
        self.step.notify_one();
        true
    }

    /// Starts a thread.
    fn seat(self: &Arc<Self>, name: String) -> io::Result<()> {
        let queue = Arc::clone(self);
        let builder = thread::Builder::new().name(name.clone());
        let thread = builder.spawn(move || {
            while queue.work() == Left::ToBeRenewed {
                match queue.seat(name.clone()) {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(%error, "a thread of the door stays as it is"),
                }
            }
        })?;
        let threads = &mut self.lock().threads;
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }

    /// A thread's life: jobs until the door closes and none is left, or until it is renewed.
    fn work(&self) -> Left {
        let renewals = self.lock().renewals;
        loop {
            let mut state = self.lock();
            let job = loop {
                if let Some(job) = state.jobs.pop_front() {
                    break job;
                }
                if state.closing {
                    return Left::Closed;
                }
                if state.renewals > renewals {
                    return Left::ToBeRenewed;
                }
                state = self.arrived.wait(state).expect("no code that holds this lock panics");
            };
            drop(state);
            job().deliver();
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
    fn a_stepped_door_does_its_work_when_it_is_told_and_in_the_order_it_is_told() {
        let (door, steps) = Door::stepped(2);
        let (did, done) = mpsc::channel();
        let job = |number| {
            let did = did.clone();
            move || did.send(number).map(|()| number)
        };
        let (first, second) = (door.call(job(1)), door.call(job(2)));
        assert_eq!(wait(door.call(|| 3)), Err(DoorError::Full));
        wait(steps.arrived());
        let result = steps.take(3).expect("the second of two").run();
        assert_eq!((done.try_recv(), door.waiting()), (Ok(2), 1));
        result.deliver();
        assert_eq!(wait(second), Ok(Ok(2)));
        drop(steps.take(0).expect("the first"));
        assert_eq!((wait(first), done.try_recv().is_err()), (Err(DoorError::Full), true));
        assert!(steps.take(0).is_none());
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
    fn threads_with_nothing_to_do_give_their_place_to_others() {
        let door = Door::new("test", 1, 8).unwrap();
        let who = || wait(door.call(|| thread::current().id())).unwrap();
        let first = who();
        assert_eq!(who(), first);
        door.threads().renew();
        while who() == first {}
        assert!(door.queue().lock().threads.len() <= 2, "who has ended is forgotten");
        let threads = door.threads();
        drop(door);
        threads.renew();
        assert!(threads.0.upgrade().is_none(), "all have ended");
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
