//! Fuzz targets with oracles for everything that reads what others wrote.
//!
//! A [`Target`] makes inputs, by changing valid ones, and judges what is made of them: an input is accepted, and then
//! what was read is compared with another way to read or write it; or it is refused, and then the reason is counted. Its
//! body is an ordinary function: the tests of this crate [`drive`] it a few thousand times, and the program `fuzz` as often as
//! it is told (docs/testing.md).

#![forbid(unsafe_code)]

mod drive;
mod minimise;
pub mod mutate;
mod random;
mod seen;
pub mod targets;

pub use drive::{Find, Report, drive, quietly, run_once};
pub use minimise::minimise;
pub use random::Random;
pub use seen::{Seen, variant};

/// What is fuzzed, and how.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What it is called.
    pub name: &'static str,
    /// Inputs that are run first: those that chance makes too rarely, and finds.
    pub cases: fn() -> Vec<Vec<u8>>,
    /// The input of an execution.
    pub generate: fn(&mut Random) -> Vec<u8>,
    /// The execution: panics if the oracle is not content.
    pub run: fn(&[u8], &mut Seen),
    /// All that an execution can note. Each must come up, or the inputs do not reach everything.
    pub outcomes: &'static [&'static str],
    /// Those of them that only `cases` bring up.
    pub rare: &'static [&'static str],
    /// Executions in the ordinary tests.
    pub runs: u64,
}
