//! Where lines come from: an editor on a terminal, or stdin as it is.

use std::io::{self, BufRead, IsTerminal, StdinLock};

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::Failure;

/// What a person sees where a message is expected.
const PROMPT: &str = "> ";

/// A source of lines.
pub enum Lines {
    /// A person at a terminal, who can edit, and go back to earlier lines.
    Editor(Box<DefaultEditor>),
    /// Anything else: a line for each message.
    Plain(StdinLock<'static>),
}

/// What came next.
pub enum Line {
    /// A line, without its end.
    Text(String),
    /// Ctrl-C, instead of a line.
    Interrupted,
    /// There are no more.
    End,
}

impl Lines {
    /// An editor if both stdin and stdout are a terminal.
    ///
    /// # Errors
    /// If the terminal cannot be used.
    pub fn open() -> Result<Lines, Failure> {
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            Ok(Lines::Editor(Box::new(DefaultEditor::new()?)))
        } else {
            Ok(Lines::Plain(io::stdin().lock()))
        }
    }

    /// Whether a person types them.
    pub fn typed(&self) -> bool {
        matches!(self, Lines::Editor(_))
    }

    /// The next line.
    ///
    /// # Errors
    /// If stdin cannot be read, or is not UTF-8.
    pub fn next(&mut self) -> Result<Line, Failure> {
        match self {
            Lines::Editor(editor) => match editor.readline(PROMPT) {
                Ok(line) => {
                    editor.add_history_entry(line.as_str())?;
                    Ok(Line::Text(line))
                }
                Err(ReadlineError::Interrupted) => Ok(Line::Interrupted),
                Err(ReadlineError::Eof) => Ok(Line::End),
                Err(error) => Err(format!("the terminal cannot be read: {error}").into()),
            },
            Lines::Plain(stdin) => {
                let mut line = String::new();
                let read = stdin.read_line(&mut line).map_err(|error| format!("stdin cannot be read: {error}"))?;
                if read == 0 {
                    return Ok(Line::End);
                }
                let text = line.strip_suffix('\n').unwrap_or(&line);
                Ok(Line::Text(text.strip_suffix('\r').unwrap_or(text).to_string()))
            }
        }
    }
}
