//! What came out of executions, counted by name.

use std::fmt::{self, Debug, Write};

/// How often each outcome of a target came up.
#[derive(Clone, Debug)]
pub struct Seen {
    outcomes: &'static [&'static str],
    counts: Vec<u64>,
}

impl Seen {
    /// Nothing yet, of these outcomes.
    pub fn new(outcomes: &'static [&'static str]) -> Seen {
        Seen { outcomes, counts: vec![0; outcomes.len()] }
    }

    /// Counts an outcome.
    ///
    /// # Panics
    /// If the target does not list it: a new kind of error must be listed, so that it must come up.
    pub fn note(&mut self, outcome: &str) {
        let place = self.outcomes.iter().position(|listed| *listed == outcome);
        let place = place.unwrap_or_else(|| panic!("the outcome {outcome:?} is not in the target's list"));
        self.counts[place] += 1;
    }

    /// Counts the variant of an error.
    ///
    /// # Panics
    /// As [`note`](Self::note).
    pub fn refused(&mut self, error: &impl Debug) {
        self.note(variant(error).as_str());
    }

    /// Adds what others saw.
    pub fn add(&mut self, others: &Seen) {
        self.counts.iter_mut().zip(&others.counts).for_each(|(count, more)| *count += more);
    }

    /// The outcomes with their counts.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.outcomes.iter().copied().zip(self.counts.iter().copied())
    }
}

/// The name of an enum's variant, from its `Debug` form, of which no more is written than that.
pub fn variant(value: &impl Debug) -> Variant {
    let mut name = Variant { bytes: [0; 32], len: 0 };
    // The error that ends the writing is ours.
    let _ = write!(name, "{value:?}");
    name
}

/// A name of a variant.
#[derive(Clone, Copy)]
pub struct Variant {
    bytes: [u8; 32],
    len: usize,
}

impl Variant {
    /// The name.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Write for Variant {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if !byte.is_ascii_alphanumeric() || self.len == self.bytes.len() {
                return Err(fmt::Error);
            }
            self.bytes[self.len] = byte;
            self.len += 1;
        }
        Ok(())
    }
}
