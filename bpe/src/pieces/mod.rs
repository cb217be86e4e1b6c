//! Cuts text into pieces: what the reference's pre-tokenizers do, without a regex engine.
//!
//! A pattern takes the first of its alternatives that matches, each as long as it can be. What every alternative takes is decided
//! by the classes of a few characters, so that one look ahead does: see [`gpt2`] and [`llama3`].

mod gpt2;
mod llama3;

use crate::classes::Class;

/// How a tokenizer cuts text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Split {
    /// `ByteLevel` alone: the pattern of GPT-2.
    Gpt2,
    /// `Digits` with individual digits, then `ByteLevel`.
    DigitsThenGpt2,
    /// The pattern of Llama 3, in whose pieces so many numbers stand together at most: 3 there, 1 in that of Qwen2.
    Llama3 {
        /// Numbers in a piece.
        numbers: usize,
    },
}

/// The pieces of a text, in order. None is empty, and together they are the text.
pub(crate) struct Pieces<'t> {
    rest: &'t str,
    split: Split,
}

impl<'t> Pieces<'t> {
    pub(crate) fn new(text: &'t str, split: Split) -> Self {
        Pieces { rest: text, split }
    }
}

impl<'t> Iterator for Pieces<'t> {
    type Item = &'t str;

    #[inline]
    fn next(&mut self) -> Option<&'t str> {
        if self.rest.is_empty() {
            return None;
        }
        let len = match self.split {
            Split::Gpt2 => gpt2::piece_len(self.rest, false),
            Split::DigitsThenGpt2 => gpt2::piece_len(self.rest, true),
            Split::Llama3 { numbers } => llama3::piece_len(self.rest, numbers),
        };
        let (piece, rest) = self.rest.split_at(len);
        self.rest = rest;
        Some(piece)
    }
}

/// Class and length in bytes of the character at `at`, `None` at the end of the text.
#[inline]
fn class_at(text: &str, at: usize) -> Option<(Class, usize)> {
    let byte = *text.as_bytes().get(at)?;
    if let Some(class) = Class::of_ascii(byte) {
        return Some((class, 1));
    }
    let c = text[at..].chars().next()?;
    Some((Class::of(c), c.len_utf8()))
}
