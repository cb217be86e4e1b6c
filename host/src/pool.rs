//! Threads that share the parts of one computation.
//!
//! A token has more than a hundred parallel regions of 50-100 microseconds each, so a region must start and end within a
//! few microseconds: workers look for the next region for a moment before they sleep, and a region that is over never
//! waits for a worker that has not begun. Who runs which part decides no bit (N10, N11).
//!
//! # How a region runs
//! Everything hangs on one word, `state`: the region's number, whether workers may still enter it, and how many are inside.
//! 1. The caller puts the address of its `Region` into `region` and opens the next number.
//! 2. A worker enters by raising the count, in one step with the check that the region is open; then it claims parts.
//! 3. The caller claims parts too. When none is left it closes the region and waits for the count to fall to zero.
//!
//! So whoever looks at the region is counted, and the caller leaves only when nobody is.

#![allow(unsafe_code)] // One block: a worker borrows the caller's region.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize};
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use kernel::pool::Pool;

/// How often a worker looks for the next region before it sleeps: about a tenth of a millisecond.
const LOOKS: u32 = 4000;

/// `state`: workers may enter. The 16 bits below count those inside, the bits above number the region.
const OPEN: u64 = 1 << 16;
const INSIDE: u64 = OPEN - 1;
const REGION: u64 = OPEN << 1;

/// The most threads that a pool may have.
pub const MAX_THREADS: usize = 1024;

/// A [`Pool`] of operating-system threads; the thread that calls [`Pool::run`] is one of them.
///
/// Dropping it ends its threads. A region started inside a region, or while another thread's region runs, runs on its
/// caller alone.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// Held while a region runs.
    busy: Mutex<()>,
}

struct Shared {
    state: AtomicU64,
    region: AtomicPtr<Region<'static>>,
    ending: AtomicBool,
    sleepers: AtomicUsize,
    bed: Mutex<()>,
    bell: Condvar,
}

/// One call of [`Pool::run`], on the caller's stack.
struct Region<'a> {
    job: &'a (dyn Fn(usize) + Sync),
    parts: usize,
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Why a pool could not start.
#[derive(Debug)]
pub enum PoolError {
    /// More threads than [`MAX_THREADS`], or none.
    Count(usize),
    /// The operating system gave no thread.
    Spawn {
        /// Its number, from 1.
        thread: usize,
        /// The system's reason.
        error: std::io::Error,
    },
    /// A thread's floating-point arithmetic is not the contract's (N1).
    Environment {
        /// Its number; 0 is the caller's.
        thread: usize,
        /// What is wrong with it.
        error: kernel::environment::EnvironmentError,
    },
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolError::Count(count) => write!(f, "{count} threads asked for: give 1 to {MAX_THREADS} (--threads)"),
            PoolError::Spawn { thread, error } => {
                write!(f, "thread {thread} could not be started ({error}): use fewer (--threads)")
            }
            PoolError::Environment { thread, error } => write!(f, "thread {thread}: {error}"),
        }
    }
}

impl std::error::Error for PoolError {}

impl ThreadPool {
    /// Starts `threads - 1` workers and checks the arithmetic of each, and of the calling thread.
    ///
    /// # Errors
    /// If `threads` is not in `1..=MAX_THREADS`, a thread cannot be started, or its arithmetic is not the contract's.
    pub fn new(threads: usize) -> Result<ThreadPool, PoolError> {
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(PoolError::Count(threads));
        }
        let environment =
            |thread| kernel::environment::check().map_err(|error| PoolError::Environment { thread, error });
        environment(0)?;
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            region: AtomicPtr::new(ptr::null_mut()),
            ending: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            bed: Mutex::new(()),
            bell: Condvar::new(),
        });
        let mut pool = ThreadPool { shared, workers: Vec::new(), busy: Mutex::new(()) };
        let (report, reports) = mpsc::channel();
        for thread in 1..threads {
            let (shared, report) = (pool.shared.clone(), report.clone());
            let worker = move || {
                // Nobody listens after a bad report.
                let _ = report.send(environment(thread));
                drop(report);
                shared.work();
            };
            let spawned = std::thread::Builder::new().name(format!("compute-{thread}")).spawn(worker);
            pool.workers.push(spawned.map_err(|error| PoolError::Spawn { thread, error })?);
        }
        drop(report);
        reports.into_iter().collect::<Result<(), PoolError>>()?;
        Ok(pool)
    }

    /// The number of processor cores that this process may use: the default of `--threads`.
    pub fn cores() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
    }
}

impl Pool for ThreadPool {
    fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// # Panics
    /// With the panic of the first part that panicked, after all threads have left the region; the pool stays usable.
    fn run(&self, parts: usize, job: &(dyn Fn(usize) + Sync)) {
        let region = Region { job, parts, next: AtomicUsize::new(0), panic: Mutex::new(None) };
        let busy = self.busy.try_lock();
        if parts > 1 && !self.workers.is_empty() && busy.is_ok() {
            self.shared.open(&region);
            region.claim();
            self.shared.close();
        } else {
            region.claim();
        }
        drop(busy);
        if let Some(panic) = lock(&region.panic).take() {
            resume_unwind(panic);
        }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.ending.store(true, SeqCst);
        self.shared.wake();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its parts: it has none of its own to report.
            let _ = worker.join();
        }
    }
}

impl Region<'_> {
    /// Runs parts until none is left; keeps the first panic and then gives out no more parts.
    fn claim(&self) {
        loop {
            let part = self.next.fetch_add(1, Relaxed);
            if part >= self.parts {
                return;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.job)(part))) {
                self.next.store(self.parts, Relaxed);
                let mut first = lock(&self.panic);
                if first.is_none() {
                    *first = Some(panic);
                } else {
                    // Dropping it could panic once more, and nothing may unwind out of here.
                    std::mem::forget(panic);
                }
            }
        }
    }
}

impl Shared {
    /// Lets workers into `region`. [`close`](Self::close) must follow before `region` goes.
    fn open(&self, region: &Region<'_>) {
        self.region.store(ptr::from_ref(region).cast::<Region<'static>>().cast_mut(), Relaxed);
        // Nobody is inside and nobody can enter: the caller alone changes the word here.
        let state = self.state.load(Relaxed);
        self.state.store(state.wrapping_add(REGION) | OPEN, SeqCst);
        self.wake();
    }

    /// Lets nobody in any more and waits until everybody is out.
    fn close(&self) {
        self.state.fetch_and(!OPEN, SeqCst);
        let mut looks = 0;
        while self.state.load(Acquire) & INSIDE != 0 {
            pause(&mut looks);
        }
    }

    /// Wakes the workers that sleep. One that is about to sleep sees what was stored before this call.
    fn wake(&self) {
        if self.sleepers.load(SeqCst) > 0 {
            drop(lock(&self.bed));
            self.bell.notify_all();
        }
    }

    /// A worker's life.
    fn work(&self) {
        let mut last = 0; // No region has this number: a worker that starts late still joins the one that runs.
        while let Some(number) = self.enter(last) {
            last = number;
            // SAFETY: a region may be shared between threads (checked below). Its address was stored before the region was
            // opened, and `enter` saw it open and counted this thread in, in one step. `close` waits for the count to
            // fall, and `ThreadPool::run` calls it before its region goes (nothing between `open` and `close` unwinds):
            // the region outlives this borrow.
            let region = unsafe { &*self.region.load(Relaxed) };
            region.claim();
            self.state.fetch_sub(1, Release);
        }
    }

    /// Waits for an open region other than `last`, enters it and returns its number; `None` at the end of the pool.
    fn enter(&self, last: u64) -> Option<u64> {
        let mut looks = 0;
        loop {
            let state = self.state.load(Acquire);
            if self.ending.load(Acquire) {
                return None;
            }
            let number = state & !(OPEN | INSIDE);
            if state & OPEN != 0 && number != last {
                if self.state.compare_exchange_weak(state, state + 1, SeqCst, Relaxed).is_ok() {
                    return Some(number);
                }
            } else if looks < LOOKS {
                looks += 1;
                std::hint::spin_loop();
            } else {
                self.sleep(state);
                looks = 0;
            }
        }
    }

    /// Sleeps until `state` is no longer what the caller saw, or the pool ends.
    fn sleep(&self, seen: u64) {
        let mut bed = lock(&self.bed);
        self.sleepers.fetch_add(1, SeqCst);
        while self.state.load(SeqCst) & !INSIDE == seen & !INSIDE && !self.ending.load(SeqCst) {
            bed = self.bell.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, SeqCst);
    }
}

/// Regions are looked at by several threads.
const _: () = {
    const fn is_sync<T: Sync>() {}
    is_sync::<Region<'static>>();
};

/// One look of a caller that waits for the last parts; now and then it lends its core to them.
fn pause(looks: &mut u32) {
    *looks += 1;
    if looks.is_multiple_of(LOOKS) { std::thread::yield_now() } else { std::hint::spin_loop() }
}

/// Locks; nothing that these locks protect can be left half-done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
