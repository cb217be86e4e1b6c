//! Operating-system threads that share the parts of one computation: they are the members of a [`Crew`].

use core::fmt;
use std::format;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::vec::Vec;

use super::{Crew, Pool};
use crate::environment::{self, EnvironmentError};

/// The most threads that a pool may have.
pub const MAX_THREADS: usize = 1024;

/// A [`Pool`] of operating-system threads; the thread that calls [`Pool::run`] is one of them.
///
/// Dropping it ends its threads. A region started inside a region, or while another thread's region runs, runs on its
/// caller alone.
pub struct ThreadPool {
    crew: Arc<Crew>,
    workers: Vec<JoinHandle<()>>,
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
        error: EnvironmentError,
    },
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolError::Count(count) => write!(f, "{count} threads asked for: give 1 to {MAX_THREADS}"),
            PoolError::Spawn { thread, error } => {
                write!(f, "thread {thread} could not be started ({error}): ask for fewer threads")
            }
            PoolError::Environment { thread, error } => write!(f, "thread {thread}: {error}"),
        }
    }
}

impl core::error::Error for PoolError {}

impl ThreadPool {
    /// Starts `threads - 1` workers and checks the arithmetic of each, and of the calling thread.
    ///
    /// # Errors
    /// If `threads` is not in `1..=MAX_THREADS`, a thread cannot be started, or its arithmetic is not the contract's.
    pub fn new(threads: usize) -> Result<ThreadPool, PoolError> {
        if !(1..=MAX_THREADS).contains(&threads) {
            return Err(PoolError::Count(threads));
        }
        let checked = |thread| environment::check().map_err(|error| PoolError::Environment { thread, error });
        checked(0)?;
        let mut pool = ThreadPool { crew: Arc::new(Crew::new()), workers: Vec::new() };
        let (report, reports) = mpsc::channel();
        for thread in 1..threads {
            let (crew, report) = (pool.crew.clone(), report.clone());
            let worker = move || {
                crew.enlist();
                // Nobody listens after a bad report.
                let _ = report.send(checked(thread));
                drop(report);
                crew.work();
            };
            let spawned = std::thread::Builder::new().name(format!("compute-{thread}")).spawn(worker);
            pool.workers.push(spawned.map_err(|error| PoolError::Spawn { thread, error })?);
        }
        drop(report);
        reports.into_iter().collect::<Result<(), PoolError>>()?;
        Ok(pool)
    }

    /// The number of processor cores that this process may use.
    pub fn cores() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS)
    }
}

impl Pool for ThreadPool {
    fn threads(&self) -> usize {
        self.crew.threads()
    }

    /// # Panics
    /// With the panic of the first part that panicked, after all threads have left the region; the pool stays usable.
    fn run(&self, parts: usize, job: &(dyn Fn(usize) + Sync)) {
        self.crew.run(parts, job);
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.crew.dismiss();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its parts: it has none of its own to report.
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_pool_has_as_many_threads_as_were_asked_for() {
        for threads in [1, 2, 3, 8] {
            assert_eq!(ThreadPool::new(threads).unwrap().threads(), threads);
        }
    }

    #[test]
    fn a_pool_has_at_least_one_thread_and_not_too_many() {
        for threads in [0, MAX_THREADS + 1] {
            let error = ThreadPool::new(threads).err().unwrap().to_string();
            assert_eq!(error, format!("{threads} threads asked for: give 1 to 1024"));
        }
    }
}
