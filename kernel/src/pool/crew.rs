//! Threads that share the parts of one computation; whoever owns them brings them (the host's are the system's, the
//! browser's are web workers).
//!
//! A token has more than a hundred parallel regions of 50-100 microseconds each, so a region must start and end within a
//! few microseconds: members look for the next region for a moment before they sleep, the caller looks for the end of its own
//! likewise, and a region that is over never waits for a member that has not begun. Who runs which part decides no bit
//! (N10, N11).
//!
//! # How a region runs
//! Everything hangs on one word, `state`: the region's number, whether members may still enter it, and how many are inside.
//! 1. The caller puts the address of its `Region` into `region` and opens the next number.
//! 2. A member enters by raising the count, in one step with the check that the region is open; then it claims parts.
//! 3. The caller claims parts too. When none is left it closes the region and waits for the count to fall to zero.
//!
//! So whoever looks at the region is counted, and the caller leaves only when nobody is. One block is unsafe: a member borrows
//! the caller's region.

use core::ptr;
use core::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize};
use std::any::Any;
use std::boxed::Box;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::string::String;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use super::Pool;

/// How often a thread looks for what it waits for before it sleeps: about a tenth of a millisecond. A look at WebAssembly
/// memory has no pause in it.
const LOOKS: u32 = if cfg!(target_arch = "wasm32") { 100_000 } else { 4000 };

/// `state`: members may enter. The 16 bits below count those inside, the bits above number the region.
const OPEN: u64 = 1 << 16;
const INSIDE: u64 = OPEN - 1;
const REGION: u64 = OPEN << 1;

/// A [`Pool`] of the threads that call [`work`](Crew::work), and of the one that calls [`Pool::run`].
///
/// A region started inside a region, or while another thread's region runs, runs on its caller alone.
pub struct Crew {
    state: AtomicU64,
    region: AtomicPtr<Region<'static>>,
    members: AtomicUsize,
    dismissed: AtomicBool,
    lost: OnceLock<String>,
    sleepers: AtomicUsize,
    caller_sleeps: AtomicBool,
    bed: Mutex<()>,
    /// Wakes the members.
    opened: Condvar,
    /// Wakes the caller.
    left: Condvar,
    /// Held while a region runs.
    busy: Mutex<()>,
}

/// One call of [`Pool::run`], on the caller's stack.
struct Region<'a> {
    job: &'a (dyn Fn(usize) + Sync),
    parts: usize,
    next: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Crew {
    /// A crew without members.
    pub const fn new() -> Crew {
        Crew {
            state: AtomicU64::new(0),
            region: AtomicPtr::new(ptr::null_mut()),
            members: AtomicUsize::new(0),
            dismissed: AtomicBool::new(false),
            lost: OnceLock::new(),
            sleepers: AtomicUsize::new(0),
            caller_sleeps: AtomicBool::new(false),
            bed: Mutex::new(()),
            opened: Condvar::new(),
            left: Condvar::new(),
            busy: Mutex::new(()),
        }
    }

    /// Counts the calling thread as a member: from now on work is cut for it. It calls [`work`](Self::work) next.
    pub fn enlist(&self) {
        self.members.fetch_add(1, SeqCst);
    }

    /// A member's life: runs parts until the crew is dismissed.
    pub fn work(&self) {
        let mut last = 0; // No region has this number: a member that starts late still joins the one that runs.
        while let Some(number) = self.enter(last) {
            last = number;
            // SAFETY: a region may be shared between threads (checked below). Its address was stored before the region was
            // opened, and `enter` saw it open and counted this thread in, in one step. `close` waits for the count to
            // fall, and `Crew::run` calls it before its region goes (nothing between `open` and `close` unwinds): the
            // region outlives this borrow.
            let region = unsafe { &*self.region.load(Relaxed) };
            region.claim();
            // What comes now may find the region gone.
            let state = self.state.fetch_sub(1, SeqCst);
            if state & INSIDE == 1 && self.caller_sleeps.load(SeqCst) {
                self.ring(&self.left);
            }
        }
    }

    /// Makes every member return from [`work`](Self::work), at once or after its part.
    pub fn dismiss(&self) {
        self.dismissed.store(true, SeqCst);
        self.wake_members();
    }

    /// Tells that a member has ended inside [`work`](Self::work), as a web worker can. Whoever waits for it panics with this
    /// reason and never returns.
    pub fn lose(&self, why: String) {
        // Of several reasons the first one counts.
        let _ = self.lost.set(why);
        self.ring(&self.left);
    }

    /// Lets members into `region`. [`close`](Self::close) must follow before `region` goes.
    fn open(&self, region: &Region<'_>) {
        self.region.store(ptr::from_ref(region).cast::<Region<'static>>().cast_mut(), Relaxed);
        // Nobody is inside and nobody can enter: the caller alone changes the word here.
        let state = self.state.load(Relaxed);
        self.state.store(state.wrapping_add(REGION) | OPEN, SeqCst);
        self.wake_members();
    }

    /// Lets nobody in any more and waits until everybody is out.
    fn close(&self) {
        self.state.fetch_and(!OPEN, SeqCst);
        let inside = || self.state.load(SeqCst) & INSIDE != 0;
        for _ in 0..LOOKS {
            if !inside() {
                return;
            }
            core::hint::spin_loop();
        }
        // There may be more threads than cores: whoever is inside gets this one.
        let mut bed = lock(&self.bed);
        self.caller_sleeps.store(true, SeqCst);
        while inside() {
            self.expect_nobody_lost();
            bed = self.left.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
        self.caller_sleeps.store(false, SeqCst);
    }

    /// # Panics
    /// If a member is lost; the process ends where a panic would unwind, since members may still look at the region.
    fn expect_nobody_lost(&self) {
        if let Some(why) = self.lost.get() {
            let _region_stays = Abort;
            panic!("a compute thread has ended: {why}");
        }
    }

    /// Wakes the members that sleep. One that is about to sleep sees what was stored before this call.
    fn wake_members(&self) {
        if self.sleepers.load(SeqCst) > 0 {
            self.ring(&self.opened);
        }
    }

    /// Wakes who sleeps; nobody is then between his last look and his sleep.
    fn ring(&self, bell: &Condvar) {
        drop(lock(&self.bed));
        bell.notify_all();
    }

    /// Waits for an open region other than `last`, enters it and returns its number; `None` when the crew is dismissed.
    fn enter(&self, last: u64) -> Option<u64> {
        let mut looks = 0;
        loop {
            let state = self.state.load(Acquire);
            if self.dismissed.load(Acquire) {
                return None;
            }
            let number = state & !(OPEN | INSIDE);
            if state & OPEN != 0 && number != last {
                if self.state.compare_exchange_weak(state, state + 1, SeqCst, Relaxed).is_ok() {
                    return Some(number);
                }
            } else if looks < LOOKS {
                looks += 1;
                core::hint::spin_loop();
            } else {
                self.sleep(state);
                looks = 0;
            }
        }
    }

    /// Sleeps until `state` is no longer what the member saw, or the crew is dismissed.
    fn sleep(&self, seen: u64) {
        let mut bed = lock(&self.bed);
        self.sleepers.fetch_add(1, SeqCst);
        while self.state.load(SeqCst) & !INSIDE == seen & !INSIDE && !self.dismissed.load(SeqCst) {
            bed = self.opened.wait(bed).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, SeqCst);
    }
}

impl Default for Crew {
    fn default() -> Crew {
        Crew::new()
    }
}

impl Pool for Crew {
    /// The members that were counted, and the caller.
    fn threads(&self) -> usize {
        self.members.load(SeqCst) + 1
    }

    /// # Panics
    /// With the panic of the first part that panicked, after all threads have left the region; the crew stays usable.
    fn run(&self, parts: usize, job: &(dyn Fn(usize) + Sync)) {
        let region = Region { job, parts, next: AtomicUsize::new(0), panic: Mutex::new(None) };
        let busy = self.busy.try_lock();
        if parts > 1 && self.threads() > 1 && busy.is_ok() {
            self.open(&region);
            region.claim();
            self.close();
        } else {
            region.claim();
        }
        drop(busy);
        if let Some(panic) = lock(&region.panic).take() {
            resume_unwind(panic);
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

/// Regions are looked at by several threads.
const _: () = {
    const fn is_sync<T: Sync>() {}
    is_sync::<Region<'static>>();
};

/// Ends the process when it is dropped.
struct Abort;

impl Drop for Abort {
    fn drop(&mut self) {
        std::process::abort();
    }
}

/// Locks; nothing that these locks protect can be left half-done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
