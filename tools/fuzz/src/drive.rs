//! Executes a target, counts what comes out, and keeps the input that fails.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Once;
use std::time::{Duration, Instant};

use crate::{Random, Seen, Target, minimise};

/// An input that takes longer than this is a find. None needs a second; the rest is for busy machines.
const PATIENCE: Duration = Duration::from_secs(30);

/// What came out of executions without a find.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the target's own cases came to.
    pub cases: Seen,
    /// What the inputs that were made came to.
    pub made: Seen,
    /// The slowest execution and the time it took.
    pub slowest: (u64, Duration),
}

/// An input that fails.
#[derive(Clone, Debug)]
pub struct Find {
    /// What the oracle said, or where the code panicked.
    pub message: String,
    /// Where it was found: a case of the target, or an execution of a seed.
    pub place: String,
    /// The smallest input found that fails as well.
    pub input: Vec<u8>,
    /// The file with it, if one could be written.
    pub file: Option<PathBuf>,
}

impl fmt::Display for Find {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Find { message, place, input, file } = self;
        write!(f, "{place}: {message}\nan input of {} bytes fails: {}", input.len(), input.escape_ascii())?;
        match file {
            Some(file) => write!(f, "\nit is in {}", file.display()),
            None => f.write_str("\nit could not be written to a file"),
        }
    }
}

impl std::error::Error for Find {}

impl Report {
    /// Adds what others saw.
    pub fn add(&mut self, other: &Report) {
        self.cases.add(&other.cases);
        self.made.add(&other.made);
        if other.slowest.1 > self.slowest.1 {
            self.slowest = other.slowest;
        }
    }

    /// What must come up and did not: the inputs do not reach it.
    pub fn missing(&self, target: &Target) -> Vec<&'static str> {
        let counts = self.made.counts().zip(self.cases.counts());
        let missing = counts.filter(|((outcome, made), (_, cases))| match target.rare.contains(outcome) {
            true => made + cases == 0,
            false => *made == 0,
        });
        missing.map(|((outcome, _), _)| outcome).collect()
    }
}

/// Runs the target's cases, and the executions of `seed` whose numbers are given.
///
/// # Errors
/// With the first input that fails, made small.
pub fn drive(target: &Target, seed: u64, executions: impl Iterator<Item = u64>) -> Result<Report, Find> {
    let mut report =
        Report { cases: Seen::new(target.outcomes), made: Seen::new(target.outcomes), slowest: (0, Duration::ZERO) };
    for (number, case) in (target.cases)().iter().enumerate() {
        run_once(target, case, &mut report.cases)
            .map_err(|message| find(target, case, message, format!("{}, case {number}", target.name)))?;
    }
    for execution in executions {
        let input = (target.generate)(&mut Random::new(seed, execution));
        let start = Instant::now();
        let ran = run_once(target, &input, &mut report.made);
        let mut took = start.elapsed();
        if ran.is_ok() && took >= PATIENCE {
            // The machine may have been busy with something else: what does not end takes as long again.
            let start = Instant::now();
            let _ = run_once(target, &input, &mut Seen::new(target.outcomes));
            took = start.elapsed();
        }
        let ran = ran.and_then(|()| if took < PATIENCE { Ok(()) } else { Err(format!("it took {took:?}")) });
        ran.map_err(|message| {
            find(target, &input, message, format!("{}, execution {execution} of seed {seed}", target.name))
        })?;
        if took > report.slowest.1 {
            report.slowest = (execution, took);
        }
    }
    Ok(report)
}

/// Runs the target with an input.
///
/// # Errors
/// With the message of the panic, if it panics.
pub fn run_once(target: &Target, input: &[u8], seen: &mut Seen) -> Result<(), String> {
    // What a panic leaves half done in `seen` is not looked at.
    let outcome = quietly(|| catch_unwind(AssertUnwindSafe(|| (target.run)(input, seen))));
    outcome.map_err(|payload| message(payload.as_ref()))
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().cloned();
    let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| text.to_string()));
    let place = PLACE.take().map(|place| format!(" ({place})")).unwrap_or_default();
    text.unwrap_or_else(|| "a panic without a message".to_string()) + &place
}

thread_local! {
    /// Whether panics of this thread are caught, and not to be printed.
    static QUIET: Cell<bool> = const { Cell::new(false) };
    /// Where it panicked last.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Runs something whose panics are not printed: the one that counts is told in the end.
pub fn quietly<T>(run: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let printing = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                PLACE.set(info.location().map(ToString::to_string));
            } else {
                printing(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = run();
    QUIET.set(before);
    result
}

fn find(target: &Target, input: &[u8], message: String, place: String) -> Find {
    let fails = |input: &[u8]| run_once(target, input, &mut Seen::new(target.outcomes)).is_err();
    // One that was only slow is kept as it is: making it small would take hours.
    let smallest = if fails(input) { minimise(input, fails) } else { input.to_vec() };
    let mut hasher = DefaultHasher::new();
    smallest.hash(&mut hasher);
    let file = std::env::temp_dir().join(format!("fuzz-{}-{:016x}.input", target.name, hasher.finish()));
    let file = std::fs::write(&file, &smallest).is_ok().then_some(file);
    // What the small input says can be another thing than what was found.
    let message = match run_once(target, &smallest, &mut Seen::new(target.outcomes)) {
        Err(other) if other != message => format!("{message}\nthe small input says: {other}"),
        _ => message,
    };
    Find { message, place, input: smallest, file }
}
