//! How a function ends: a number, and a message where there is a place for it.

use std::any::Any;
use std::error::Error;
use std::ffi::c_char;
use std::mem::{MaybeUninit, forget};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The bytes of a message, with the zero byte that ends it.
pub const LOCKSTEP_MESSAGE_SIZE: usize = 1024;

/// How a function ended.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockstepStatus {
    /// It did what it was asked for.
    Ok = 0,
    /// The generation had ended before: there is no further token.
    End = 1,
    /// A pointer is null, or a length, number or token is out of its range.
    Argument = 2,
    /// The folder or the bytes hold no model that can be used.
    Model = 3,
    /// What was computed is not finite: the weights are damaged, or a learning rate is too high.
    Compute = 4,
    /// This thread's arithmetic is not that of the contract: it flushes subnormal numbers, or rounds otherwise.
    Environment = 5,
    /// The self-test found other bits than those of the contract.
    Mismatch = 6,
    /// A mistake in the library; the handle can only be freed.
    Internal = 7,
}

/// A message for people.
#[repr(C)]
pub struct LockstepError {
    /// UTF-8, ended by a zero byte; empty after a success.
    pub message: [c_char; LOCKSTEP_MESSAGE_SIZE],
}

/// Why a function did not do what it was asked for.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: LockstepStatus,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(status: LockstepStatus, error: impl Error) -> Failure {
        Failure { status, message: error.to_string() }
    }

    pub(crate) fn argument(message: impl Into<String>) -> Failure {
        Failure { status: LockstepStatus::Argument, message: message.into() }
    }

    pub(crate) fn null(name: &str) -> Failure {
        Failure::argument(format!("{name} is a null pointer"))
    }

    pub(crate) fn internal(message: impl Into<String>) -> Failure {
        Failure { status: LockstepStatus::Internal, message: message.into() }
    }
}

/// What an argument points to, unless it is null.
pub(crate) fn given<T>(name: &str, argument: Option<T>) -> Result<T, Failure> {
    argument.ok_or_else(|| Failure::null(name))
}

/// Whether this thread's arithmetic is the contract's (N1): whatever computes asks first.
pub(crate) fn environment() -> Result<(), Failure> {
    kernel::environment::check().map_err(|error| Failure::new(LockstepStatus::Environment, error))
}

/// Does the work of a function, and says how it ended. No panic goes further.
pub(crate) fn guard(
    error: Option<&mut MaybeUninit<LockstepError>>,
    work: impl FnOnce() -> Result<(), Failure>,
) -> LockstepStatus {
    // What a panic leaves half done is in a handle, which refuses further work (`Whole`).
    let outcome = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(Failure::internal(said(panic))));
    let (status, message) = match outcome {
        Ok(()) => (LockstepStatus::Ok, String::new()),
        Err(Failure { status, message }) => (status, message),
    };
    if let Some(error) = error {
        error.write(LockstepError { message: text(&message) });
    }
    status
}

/// Does the work of a function that does not say how it ended.
pub(crate) fn quietly(work: impl FnOnce()) {
    guard(None, || {
        work();
        Ok(())
    });
}

fn said(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    let message = format!("a mistake in the library, please report it: {}", text.unwrap_or("a panic without a text"));
    // What else a panic carries might panic when it is dropped.
    forget(panic);
    message
}

/// As much of the message as there is room for, cut between characters.
fn text(message: &str) -> [c_char; LOCKSTEP_MESSAGE_SIZE] {
    let mut text = [0; LOCKSTEP_MESSAGE_SIZE];
    let mut end = message.len().min(LOCKSTEP_MESSAGE_SIZE - 1);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    // A zero byte would end it early.
    let bytes = message[..end].bytes().map(|byte| if byte == 0 { b' ' } else { byte });
    text.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte as c_char);
    text
}

/// A part of a handle that is changed step by step; after a panic in a step it is no longer whole, and refuses.
pub(crate) struct Whole<T>(Option<T>);

impl<T> Whole<T> {
    pub(crate) fn new(value: T) -> Whole<T> {
        Whole(Some(value))
    }

    /// What it holds.
    pub(crate) fn get(&self) -> Result<&T, Failure> {
        self.0.as_ref().ok_or_else(Self::broken)
    }

    /// Changes what it holds.
    pub(crate) fn change<R>(&mut self, step: impl FnOnce(&mut T) -> Result<R, Failure>) -> Result<R, Failure> {
        let mut value = self.0.take().ok_or_else(Self::broken)?;
        let result = step(&mut value);
        self.0 = Some(value);
        result
    }

    fn broken() -> Failure {
        Failure::internal("an earlier call failed inside the library; free this handle and begin anew")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn ended(work: impl FnOnce() -> Result<(), Failure>) -> (LockstepStatus, String) {
        let mut error = MaybeUninit::uninit();
        let status = guard(Some(&mut error), work);
        // SAFETY: `guard` writes it.
        let LockstepError { message } = unsafe { error.assume_init() };
        let bytes: Vec<u8> = message.iter().map(|byte| *byte as u8).collect();
        (status, CStr::from_bytes_until_nul(&bytes).unwrap().to_str().unwrap().to_owned())
    }

    #[test]
    fn a_success_has_no_message_and_a_failure_its_own() {
        assert_eq!(ended(|| Ok(())), (LockstepStatus::Ok, String::new()));
        let failure = || Err(Failure::null("model"));
        assert_eq!(ended(failure), (LockstepStatus::Argument, "model is a null pointer".to_owned()));
        assert_eq!(guard(None, failure), LockstepStatus::Argument);
    }

    #[test]
    fn a_panic_is_a_status_and_the_handle_refuses_further_work() {
        let mut whole = Whole::new(1);
        let (status, message) = ended(|| whole.change(|_| panic!("a plan of {}", 3)));
        assert_eq!(status, LockstepStatus::Internal);
        assert!(message.ends_with("please report it: a plan of 3"), "{message}");
        let (status, message) = ended(|| whole.change(|_| Ok(())));
        assert_eq!(status, LockstepStatus::Internal);
        assert!(message.contains("free this handle"), "{message}");
        assert!(ended(|| whole.get().map(|_| ())).1.contains("free this handle"));
        let (status, message) = ended(|| std::panic::panic_any(3));
        assert_eq!((status, message.ends_with("a panic without a text")), (LockstepStatus::Internal, true));
        quietly(|| panic!("of no consequence"));
    }

    #[test]
    fn a_failure_leaves_a_handle_whole() {
        let mut whole = Whole::new(1);
        assert!(whole.change(|_| Err::<(), _>(Failure::null("x"))).is_err());
        assert_eq!(whole.change(|value| Ok(*value)).unwrap(), 1);
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let (_, message) = ended(|| Err(Failure::argument("é".repeat(2 * LOCKSTEP_MESSAGE_SIZE))));
        assert_eq!(message, "é".repeat((LOCKSTEP_MESSAGE_SIZE - 1) / 2));
        assert_eq!(ended(|| Err(Failure::argument("a\0b"))).1, "a b");
    }
}
