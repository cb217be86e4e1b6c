//! What a training learns from, and what is set apart to see how much it has learnt.

use kernel::model::Sequence;
use kernel::train::held_out;

use crate::data::{lines, one_text};
use crate::open::Opened;
use crate::{Failure, cli};

/// The sequences of a training.
pub struct Data {
    /// Those that are learnt from.
    pub sequences: Vec<Sequence>,
    /// Those whose loss is told.
    pub evaluation: Vec<Sequence>,
}

impl Data {
    /// Reads what the command line names.
    ///
    /// # Errors
    /// If a file cannot be read, there is nothing to learn from, or nothing can be set apart.
    pub fn read(arguments: &cli::Train, opened: &Opened) -> Result<Data, Failure> {
        let (source, evaluate) = (&arguments.source, &arguments.evaluate);
        let mut sequences = match &source.data {
            Some(path) => lines(path, arguments.special, arguments.truncate, opened)?,
            None => vec![one_text(source.text.as_deref().unwrap_or_default(), arguments.special, opened)?],
        };
        let mut evaluation = match &evaluate.eval_data {
            Some(path) => lines(path, arguments.special, arguments.truncate, opened)?,
            None => Vec::new(),
        };
        if let Some(fraction) = evaluate.eval_fraction {
            let count = sequences.len();
            let held = (fraction * count as f64).round() as usize;
            if !(1..count).contains(&held) {
                return Err(format!(
                    "--eval-fraction {fraction} of {count} lines sets {held} apart; at least one must be set apart and one kept"
                )
                .into());
            }
            let numbers = held_out(arguments.seed, count as u32, held as u32);
            // From the end, so that the numbers before stay right.
            evaluation = numbers.iter().rev().map(|number| sequences.remove(*number)).collect();
            evaluation.reverse();
        }
        Ok(Data { sequences, evaluation })
    }

    /// Tokens of the longest sequence that is learnt from.
    pub fn longest(&self) -> usize {
        self.sequences.iter().map(|sequence| sequence.tokens.len()).max().unwrap_or(0)
    }
}
