//! Texts of the command line and lines of files, as sequences to learn from or to score.

use std::fs;
use std::path::Path;

use kernel::model::Sequence;
use session::data::{DataError, Reader, text};

use crate::open::Opened;
use crate::{Failure, cli};

/// The sequence of a text.
///
/// # Errors
/// If it is too short or too long.
pub fn one_text(words: &str, special: cli::Special, opened: &Opened) -> Result<Sequence, DataError> {
    text(opened.tokenizer.encode(words, special.mode()), opened.model.config().context)
}

/// The sequences of a file of JSON lines.
///
/// # Errors
/// If the file cannot be read, or one of its lines has no token that is predicted.
pub fn lines(path: &Path, special: cli::Special, truncate: bool, opened: &Opened) -> Result<Vec<Sequence>, Failure> {
    let lines = fs::read(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    let tokenizer_config = opened.tokenizer_config()?;
    let reader = Reader {
        tokenizer: &opened.tokenizer,
        special: special.mode(),
        tokenizer_config: tokenizer_config.as_deref(),
        context: opened.model.config().context,
        truncate,
    };
    reader.lines(&lines).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Whether both paths lead to one file: what is computed of data is not to replace it.
pub fn is_same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
