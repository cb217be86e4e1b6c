//! Ctrl-C: while an answer comes it stops the answer, and not the program.

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Nothing is to be stopped.
const IDLE: u8 = 0;
/// An answer comes.
const ANSWERING: u8 = 1;
/// The answer is to stop.
const STOP: u8 = 2;
/// The exit code of a program that an interrupt ended: 128 and the number of the signal.
const INTERRUPTED: i32 = 130;

/// What Ctrl-C does at the moment.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicU8>);

impl Interrupt {
    /// From now on Ctrl-C is ours. Between answers it ends the program if nobody edits a line there (an editor sees it as a key);
    /// a second one, before the first has stopped the answer, does so anyway.
    ///
    /// # Errors
    /// If no thread can be started to wait for it.
    pub fn listen(typed: bool) -> io::Result<Interrupt> {
        let state = Arc::new(AtomicU8::new(IDLE));
        let seen = state.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("interrupt".to_string()).spawn(move || {
            runtime.block_on(async {
                while tokio::signal::ctrl_c().await.is_ok() {
                    match seen.compare_exchange(ANSWERING, STOP, Ordering::Relaxed, Ordering::Relaxed) {
                        Err(IDLE) if typed => {}
                        Err(_) => process::exit(INTERRUPTED),
                        Ok(_) => {}
                    }
                }
            });
        })?;
        Ok(Interrupt(state))
    }

    /// An answer begins.
    pub fn begin(&self) {
        self.0.store(ANSWERING, Ordering::Relaxed);
    }

    /// Whether the answer is to stop.
    pub fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed) == STOP
    }

    /// The answer has ended.
    pub fn end(&self) {
        self.0.store(IDLE, Ordering::Relaxed);
    }
}
