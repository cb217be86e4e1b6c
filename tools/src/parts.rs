//! The parts of a command, of which the command line names some.

use std::collections::BTreeSet;

use clap::ValueEnum;

/// What was asked for, each once, or all.
pub(crate) fn chosen<T: Copy + Ord>(asked: &[T], all: &[T]) -> Vec<T> {
    let asked: BTreeSet<T> = asked.iter().copied().collect();
    if asked.is_empty() { all.to_vec() } else { asked.into_iter().collect() }
}

/// A part as it is written on the command line.
pub(crate) fn name(part: impl ValueEnum) -> String {
    part.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_runs_once_and_nothing_means_all() {
        assert_eq!(chosen(&[], &["rust", "e2e"]), ["rust", "e2e"]);
        assert_eq!(chosen(&["e2e", "unit", "e2e"], &[]), ["e2e", "unit"]);
    }
}
