//! `lockstep tokenize`: JSON lines of texts to JSON lines of token ids, and back.

use std::fmt;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use bpe::{Tokenizer, UnknownToken};
use loader::Object;
use serde::{Deserialize, Serialize};

use crate::{Failure, Outcome, cli, open};

#[derive(Serialize, Deserialize)]
struct Text {
    text: String,
}

#[derive(Serialize, Deserialize)]
struct Ids {
    ids: Vec<u32>,
}

/// What is wrong with a line of the input; lines count from 1.
#[derive(Debug)]
pub enum LineError {
    /// Not a JSON object with the key that the direction needs.
    Malformed { line: usize, wanted: &'static str, error: serde_json::Error },
    /// An id that is no token.
    Unknown { line: usize, error: UnknownToken },
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::Malformed { line, wanted, error } => write!(f, "line {line} is not {wanted}: {error}"),
            LineError::Unknown { line, error } => write!(f, "line {line}: {error}"),
        }
    }
}

impl std::error::Error for LineError {}

/// Runs the command from stdin to stdout.
///
/// # Errors
/// If the tokenizer cannot be opened, or at the first malformed line; the answers to the lines before it are written.
pub fn tokenize(arguments: cli::Tokenize) -> Outcome {
    let (tokenizer, _) = open::tokenizer(&arguments.folder.model)?;
    let mut output = BufWriter::new(io::stdout().lock());
    let outcome = lines(io::stdin().lock(), &mut output, |line, text| {
        if arguments.decode {
            decode(&tokenizer, line, text)
        } else {
            encode(&tokenizer, arguments.special, line, text)
        }
    });
    output.flush()?;
    outcome
}

fn encode(tokenizer: &Tokenizer, special: cli::Special, line: usize, text: &[u8]) -> Result<String, Failure> {
    let malformed = |error| LineError::Malformed { line, wanted: "{\"text\":\"...\"}", error };
    let Object(Text { text }) = serde_json::from_slice(text).map_err(malformed)?;
    Ok(serde_json::to_string(&Ids { ids: tokenizer.encode(&text, special.mode()) })?)
}

fn decode(tokenizer: &Tokenizer, line: usize, text: &[u8]) -> Result<String, Failure> {
    let malformed = |error| LineError::Malformed { line, wanted: "{\"ids\":[1,2,3]}", error };
    let Object(Ids { ids }) = serde_json::from_slice(text).map_err(malformed)?;
    let text = tokenizer.decode(&ids).map_err(|error| LineError::Unknown { line, error })?;
    Ok(serde_json::to_string(&Text { text })?)
}

/// Answers each line of `input` with a line of `output`, at once where no further line is waiting.
fn lines(
    input: impl Read,
    output: &mut impl Write,
    mut answer: impl FnMut(usize, &[u8]) -> Result<String, Failure>,
) -> Outcome {
    let mut input = BufReader::new(input);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        writeln!(output, "{}", answer(number, &line)?)?;
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_from_one_and_the_last_needs_no_line_feed() {
        let mut output = Vec::new();
        lines(&b"a\nb\nc"[..], &mut output, |number, line| Ok(format!("{number}{}", line.len()))).unwrap();
        assert_eq!(output, b"12\n22\n31\n");
    }

    #[test]
    fn answers_before_a_malformed_line_are_written() {
        let mut output = Vec::new();
        let answer = |number, _: &[u8]| if number < 3 { Ok("ok".to_string()) } else { Err("bad".into()) };
        assert_eq!(lines(&b"1\n2\n3\n4\n"[..], &mut output, answer).unwrap_err().to_string(), "bad");
        assert_eq!(output, b"ok\nok\n");
    }
}
