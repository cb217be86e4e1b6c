//! Ctrl-C: while an answer comes it stops the answer, and not the program.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::sync_channel;
use std::task::Poll;

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
        let (listening, listens) = sync_channel(1);
        std::thread::Builder::new().name("interrupt".to_string()).spawn(move || {
            runtime.block_on(async {
                loop {
                    let mut interrupted = pin!(tokio::signal::ctrl_c());
                    // The first look is what takes Ctrl-C over.
                    let first = poll_fn(|context| Poll::Ready(interrupted.as_mut().poll(context))).await;
                    // Whoever waited for that has gone on after the first time.
                    let _ = listening.try_send(());
                    let heard = match first {
                        Poll::Ready(heard) => heard,
                        Poll::Pending => interrupted.await,
                    };
                    if heard.is_err() {
                        return;
                    }
                    match seen.compare_exchange(ANSWERING, STOP, Ordering::Relaxed, Ordering::Relaxed) {
                        Err(IDLE) if typed => {}
                        Err(_) => process::exit(INTERRUPTED),
                        Ok(_) => {}
                    }
                }
            });
        })?;
        // An error means that nobody listens, and Ctrl-C does what it always does.
        let _ = listens.recv();
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
