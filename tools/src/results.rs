//! What a list of checks came to.

use std::fmt::Display;
use std::time::Instant;

/// What passed, each with its time, and what did not.
#[derive(Default)]
pub(crate) struct Results {
    passed: Vec<String>,
    failed: Vec<String>,
}

impl Results {
    /// Does what `name` says, and prints why it failed at once.
    pub(crate) fn of<E: Display>(&mut self, name: impl Into<String>, work: impl FnOnce() -> Result<(), E>) {
        let (name, start) = (name.into(), Instant::now());
        match work() {
            Ok(()) => self.passed.push(format!("{name} ({} s)", start.elapsed().as_secs())),
            Err(error) => {
                eprintln!("{name}: {error}");
                self.failed.push(name);
            }
        }
    }

    /// Prints what passed.
    ///
    /// # Errors
    /// The names of what did not.
    pub(crate) fn end(self) -> Result<(), Vec<String>> {
        self.passed.iter().for_each(|name| eprintln!("passed: {name}"));
        if self.failed.is_empty() { Ok(()) } else { Err(self.failed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_named_and_the_next_is_done() {
        let mut results = Results::default();
        results.of("a", || Err("no"));
        results.of("b", || Ok::<_, String>(()));
        assert_eq!(results.passed, ["b (0 s)"]);
        assert_eq!(results.end(), Err(vec!["a".to_owned()]));
    }
}
