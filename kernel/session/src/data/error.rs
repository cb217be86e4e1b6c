//! Why a text or a line of a data file cannot be used.

use std::fmt;

use bpe::ChatError;

/// Why there is nothing to learn from, or to score.
#[derive(Debug)]
pub enum DataError {
    /// There are no lines.
    Empty,
    /// There are more lines than can be shuffled.
    Lines(usize),
    /// A text has fewer than 2 tokens: no token has one before it.
    Short {
        /// Where it stands.
        place: Place,
        /// Its tokens.
        tokens: usize,
    },
    /// A text has more tokens than the model has positions.
    Long {
        /// Where it stands.
        place: Place,
        /// Its tokens.
        tokens: usize,
        /// The model's positions.
        context: usize,
    },
    /// No token that counts is within the context.
    Cut {
        /// Where it stands.
        place: Place,
        /// The model's positions.
        context: usize,
    },
    /// A line is not a JSON object of a known kind.
    Json {
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        error: serde_json::Error,
    },
    /// A line is of no known kind, or of several.
    Keys {
        /// The line, from 1.
        line: usize,
    },
    /// The marks of a line do not fit its ids.
    Marks {
        /// The line, from 1.
        line: usize,
        /// Its ids.
        ids: usize,
    },
    /// A prompt has no token, after which the completion could follow.
    NoPrompt {
        /// Where it stands.
        place: Place,
    },
    /// A completion has no token of its own.
    NoCompletion {
        /// Where it stands.
        place: Place,
    },
    /// A conversation has no ids.
    Chat {
        /// Where it stands.
        place: Place,
        /// What is wrong.
        error: ChatError,
    },
}

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A text on the command line, or in a request.
    Text,
    /// The messages of a request.
    Messages,
    /// In a data file; lines count from 1.
    Line(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Text => f.write_str("the text"),
            Place::Messages => f.write_str("the conversation"),
            Place::Line(line) => write!(f, "line {line}"),
        }
    }
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataError::Empty => f.write_str("there are no lines; write one text or conversation a line"),
            DataError::Lines(lines) => write!(f, "{lines} lines are more than can be shuffled ({})", u32::MAX),
            DataError::Short { place, tokens } => {
                write!(f, "{place} has {tokens} tokens; at least 2 are needed to learn the second from the first")
            }
            DataError::Long { place, tokens, context } => {
                write!(f, "{place} has {tokens} tokens, more than the context of {context}; shorten it")?;
                match place {
                    Place::Line(_) => f.write_str(", or cut it with --truncate"),
                    Place::Text | Place::Messages => Ok(()),
                }
            }
            DataError::Cut { place, context } => {
                write!(
                    f,
                    "{place} has no token that counts within the context of {context} tokens; shorten what is before it"
                )
            }
            DataError::Json { line, error } => write!(
                f,
                "line {line} is not {{\"text\":\"...\"}}, {{\"prompt\":\"...\",\"completion\":\"...\"}}, \
                 {{\"messages\":[...]}} or {{\"ids\":[...]}}: {error}"
            ),
            DataError::Keys { line } => write!(
                f,
                "line {line} needs either \"text\", \"prompt\" and \"completion\", \"messages\" or \"ids\" (with \
                 \"counted\" where not all of them count)"
            ),
            DataError::Marks { line, ids } => {
                write!(f, "line {line}: \"counted\" has a 0 or a 1 for each of its {ids} ids")
            }
            DataError::NoPrompt { place } => {
                write!(
                    f,
                    "{place}: the prompt has no token, and the first token of all cannot count; begin with one, say <|im_start|>"
                )
            }
            DataError::NoCompletion { place } => write!(
                f,
                "{place}: the completion has no token of its own: it is empty, or part of the last token of the prompt"
            ),
            DataError::Chat { place, error } => write!(f, "{place}: {error}"),
        }
    }
}

impl std::error::Error for DataError {}
