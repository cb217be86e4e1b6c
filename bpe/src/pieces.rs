//! Cuts text into pieces: what the reference's pre-tokenizers do, without a regex engine.
//!
//! The pattern is GPT-2's, first alternative that matches, each as long as it can be:
//!
//! ```text
//! 's|'t|'re|'ve|'m|'ll|'d | ?\p{L}+ | ?\p{N}+ | ?[^\s\p{L}\p{N}]+ | \s+(?!\S) | \s+
//! ```
//!
//! `\s+(?!\S)` followed by `\s+` means: a run of spaces is one piece at the end of the text; before anything else
//! its last character is left over, and joins what follows if it is U+0020. With [`Split::DigitsThenPattern`] every number
//! character is a piece of its own, and to the pattern the text *ends* there: in `x  12` both spaces stay together.

use crate::classes::Class;

/// How a tokenizer cuts text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Split {
    /// `ByteLevel` alone.
    Pattern,
    /// `Digits` with individual digits, then `ByteLevel`.
    DigitsThenPattern,
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

    /// Class and length of the character at `at`; `None` where the pattern sees the end of the text.
    #[inline]
    fn peek(&self, at: usize) -> Option<(Class, usize)> {
        let (class, len) = class_at(self.rest, at)?;
        match (class, self.split) {
            (Class::Number | Class::NewNumber, Split::DigitsThenPattern) => None,
            (Class::NewNumber, Split::Pattern) => Some((Class::Other, len)),
            _ => Some((class, len)),
        }
    }

    /// The end of the run of `class` that goes through `at`, and the length of its last character.
    #[inline]
    fn run(&self, class: Class, mut at: usize) -> (usize, usize) {
        let mut last = 0;
        while let Some((next, len)) = self.peek(at)
            && next == class
        {
            at += len;
            last = len;
        }
        (at, last)
    }

    /// The length of the piece at the start of `rest`, which is not empty.
    fn piece_len(&self) -> usize {
        let Some((first, first_len)) = self.peek(0) else {
            // `Digits` cuts this character out.
            return class_at(self.rest, 0).map_or(0, |(_, len)| len);
        };
        if let Some(len) = contraction_len(self.rest.as_bytes()) {
            return len;
        }
        if first != Class::Space {
            return self.run(first, first_len).0;
        }
        if self.rest.starts_with(' ')
            && let Some((class, len)) = self.peek(1)
            && class != Class::Space
        {
            return self.run(class, 1 + len).0;
        }
        let (end, last) = self.run(Class::Space, 0);
        let one_character = end == last;
        let at_the_end = self.peek(end).is_none();
        if one_character || at_the_end { end } else { end - last }
    }
}

impl<'t> Iterator for Pieces<'t> {
    type Item = &'t str;

    #[inline]
    fn next(&mut self) -> Option<&'t str> {
        if self.rest.is_empty() {
            return None;
        }
        let (piece, rest) = self.rest.split_at(self.piece_len());
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

/// The length of `'s|'t|'re|'ve|'m|'ll|'d` at the start, which is tried before anything else.
#[inline]
fn contraction_len(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\'', b's' | b't' | b'm' | b'd', ..] => Some(2),
        [b'\'', b'r' | b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => Some(3),
        _ => None,
    }
}
