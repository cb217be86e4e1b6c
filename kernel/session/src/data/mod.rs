//! What a training learns from and a scoring scores: one text, or lines of texts, prompts with completions, conversations, ids.

mod error;

use bpe::{ChatTemplate, Message, Tokenizer};
use kernel::model::Sequence;
use loader::Object;
use serde::Deserialize;

use crate::chat;

pub use error::{DataError, Place};

/// A line of a data file: of exactly one kind; other keys are ignored.
#[derive(Deserialize)]
struct Line {
    text: Option<String>,
    #[serde(alias = "context")]
    prompt: Option<String>,
    #[serde(alias = "continuation")]
    completion: Option<String>,
    messages: Option<Vec<Object<LineMessage>>>,
    ids: Option<Vec<u32>>,
    counted: Option<String>,
}

#[derive(Deserialize)]
struct LineMessage {
    role: String,
    content: String,
}

/// One text of which every token but the first counts.
///
/// # Errors
/// If it has fewer than 2 tokens, or more than `context`.
pub fn text(tokens: Vec<u32>, context: usize) -> Result<Sequence, DataError> {
    fit(Sequence::new(tokens), Place::Text, context, false)
}

/// Reads texts, prompts with completions, conversations and ids.
pub struct Reader<'a> {
    /// Turns texts into ids.
    pub tokenizer: &'a Tokenizer,
    /// How the special tokens in a `text`, `prompt` or `completion` are taken; message contents are always plain text.
    pub special: bpe::Special,
    /// The bytes of `tokenizer_config.json`, where there is one: its chat template turns conversations into texts.
    pub tokenizer_config: Option<&'a [u8]>,
    /// The most tokens that a sequence may have.
    pub context: usize,
    /// Whether longer ones are cut instead of refused.
    pub truncate: bool,
}

impl Reader<'_> {
    /// One text of which every token but the first counts.
    ///
    /// # Errors
    /// As [`text`].
    pub fn text(&self, text: &str) -> Result<Sequence, DataError> {
        self.fit(self.whole(text), Place::Text)
    }

    /// One conversation of which the assistant's answers count.
    ///
    /// # Errors
    /// If there is no answer, the model has no chat template or it refuses the messages, or they are too long.
    pub fn messages(&self, messages: &[Message]) -> Result<Sequence, DataError> {
        let place = Place::Messages;
        self.fit(self.conversation(&self.template(place)?, messages, place)?, place)
    }

    /// Reads JSON lines, one sequence a line.
    ///
    /// # Errors
    /// If there are no lines; at the first line from which nothing can be learnt.
    pub fn lines(&self, bytes: &[u8]) -> Result<Vec<Sequence>, DataError> {
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        if bytes.is_empty() {
            return Err(DataError::Empty);
        }
        let mut template = None;
        let lines = bytes.split(|byte| *byte == b'\n').zip(1..);
        let sequences: Vec<Sequence> =
            lines.map(|(text, line)| self.line(text, line, &mut template)).collect::<Result<_, _>>()?;
        if sequences.len() > u32::MAX as usize {
            return Err(DataError::Lines(sequences.len()));
        }
        Ok(sequences)
    }

    fn line(&self, bytes: &[u8], line: usize, template: &mut Option<ChatTemplate>) -> Result<Sequence, DataError> {
        let keys = serde_json::from_slice(bytes).map_err(|error| DataError::Json { line, error })?;
        let Object(Line { text, prompt, completion, messages, ids, counted }) = keys;
        let place = Place::Line(line);
        let sequence = match (text, (prompt, completion), messages, (ids, counted)) {
            (Some(text), (None, None), None, (None, None)) => self.whole(&text),
            (None, (Some(prompt), Some(completion)), None, (None, None)) => {
                self.continued(&prompt, &completion, place)?
            }
            (None, (None, None), Some(messages), (None, None)) => {
                // The template is read only where it is needed: not every model has one.
                let template = match template {
                    Some(template) => template,
                    None => template.insert(self.template(place)?),
                };
                let messages =
                    messages.into_iter().map(|Object(LineMessage { role, content })| Message { role, content });
                self.conversation(template, &messages.collect::<Vec<_>>(), place)?
            }
            (None, (None, None), None, (Some(ids), None)) => Sequence::new(ids),
            (None, (None, None), None, (Some(ids), Some(counted))) => {
                let count = ids.len();
                marked(ids, &counted).ok_or(DataError::Marks { line, ids: count })?
            }
            _ => return Err(DataError::Keys { line }),
        };
        self.fit(sequence, place)
    }

    /// A prompt and how it goes on, cut where evaluation harnesses cut: white space at the end of the prompt belongs to the
    /// completion, both are encoded as one text, and as many tokens as the prompt has alone are not counted.
    fn continued(&self, prompt: &str, completion: &str, place: Place) -> Result<Sequence, DataError> {
        let tokens = self.tokenizer.encode(&format!("{prompt}{completion}"), self.special);
        let asked = self.tokenizer.encode(prompt.trim_end(), self.special).len();
        if asked == 0 {
            return Err(DataError::NoPrompt { place });
        }
        if asked >= tokens.len() {
            return Err(DataError::NoCompletion { place });
        }
        let counted = (0..tokens.len()).map(|at| at >= asked).collect();
        Ok(Sequence { tokens, counted })
    }

    fn whole(&self, text: &str) -> Sequence {
        Sequence::new(self.tokenizer.encode(text, self.special))
    }

    fn template(&self, place: Place) -> Result<ChatTemplate, DataError> {
        chat::template(self.tokenizer_config).map_err(|error| DataError::Chat { place, error })
    }

    fn conversation(&self, template: &ChatTemplate, messages: &[Message], place: Place) -> Result<Sequence, DataError> {
        let pieces = template.encode_answers(self.tokenizer, messages);
        let (mut tokens, mut counted) = (Vec::new(), Vec::new());
        for (ids, counts) in pieces.map_err(|error| DataError::Chat { place, error })? {
            counted.extend(ids.iter().map(|_| counts));
            tokens.extend(ids);
        }
        Ok(Sequence { tokens, counted })
    }

    fn fit(&self, sequence: Sequence, place: Place) -> Result<Sequence, DataError> {
        fit(sequence, place, self.context, self.truncate)
    }
}

/// A sequence whose marks are written as a `0` or a `1` for each token; none if they are not.
pub(crate) fn marked(tokens: Vec<u32>, marks: &str) -> Option<Sequence> {
    let mark = |mark: u8| match mark {
        b'0' => Some(false),
        b'1' => Some(true),
        _ => None,
    };
    let counted: Vec<bool> = marks.bytes().map(mark).collect::<Option<_>>()?;
    (counted.len() == tokens.len()).then_some(Sequence { tokens, counted })
}

/// Cuts or refuses what is too long, and refuses what has nothing to learn.
fn fit(mut sequence: Sequence, place: Place, context: usize, truncate: bool) -> Result<Sequence, DataError> {
    let tokens = sequence.tokens.len();
    if tokens > context && !truncate {
        return Err(DataError::Long { place, tokens, context });
    }
    sequence.tokens.truncate(context);
    sequence.counted.truncate(context);
    match sequence.tokens.len() {
        0..2 => Err(DataError::Short { place, tokens: tokens.min(context) }),
        _ if sequence.count() == 0 => Err(DataError::Cut { place, context }),
        _ => Ok(sequence),
    }
}

#[cfg(test)]
mod tests;
