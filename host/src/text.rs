//! The text of a generation, token by token.

use bpe::{StreamDecoder, Tokenizer, UnknownToken};
use kernel::generate::{FinishReason, Step};

/// Turns the steps of one generation into pieces of text that, joined, are the whole text.
///
/// A character that needs more tokens is held back until they are there; the last step brings what is left. A token that
/// ends the generation (end of text) has no text of its own.
#[derive(Default)]
pub struct TextStream {
    decoder: StreamDecoder,
}

impl TextStream {
    /// The text that `step` completes.
    ///
    /// # Errors
    /// If the tokenizer has no such token: the vocabulary of the model is larger than the tokenizer's.
    pub fn push(&mut self, tokenizer: &Tokenizer, step: &Step) -> Result<String, UnknownToken> {
        let mut text = match step.finish_reason {
            Some(FinishReason::Stop) => String::new(),
            _ => self.decoder.push(tokenizer, step.token_id)?,
        };
        if step.finish_reason.is_some() {
            text.push_str(&std::mem::take(&mut self.decoder).finish());
        }
        Ok(text)
    }
}

/// `text` with its control characters, other than newline and tab, written as `\u{..}`: what a model says must not drive
/// the terminal that shows it.
pub fn harmless(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !matches!(c, '\n' | '\t') {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_not_sent() {
        assert_eq!(harmless("a\n\tb é 🙂"), "a\n\tb é 🙂");
        assert_eq!(harmless("\u{1b}[2J\r\u{7f}\u{9b}"), "\\u{1b}[2J\\u{d}\\u{7f}\\u{9b}");
    }
}
