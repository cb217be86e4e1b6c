//! Added tokens: texts that are found in the input before anything else looks at it.
//!
//! Matching is leftmost, longest first, as in the reference. Two passes: tokens that are not `normalized` go over
//! the whole text, the others over what is left (beside a normalizer no token is `normalized`, so both see the same characters).

use alloc::{string::String, vec::Vec};

use crate::Special;

/// One entry of `added_tokens`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AddedToken {
    pub(crate) id: u32,
    pub(crate) content: String,
    pub(crate) special: bool,
    pub(crate) normalized: bool,
}

/// A stretch of input: an added token, or text between two of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Segment<'t> {
    Token(u32),
    Text(&'t str),
}

/// All added tokens of a tokenizer.
#[derive(Debug)]
pub(crate) struct AddedTokens {
    first_pass: Matcher,
    second_pass: Matcher,
}

impl AddedTokens {
    pub(crate) fn new(tokens: Vec<AddedToken>) -> Self {
        let (second, first) = tokens.into_iter().partition(|token| token.normalized);
        AddedTokens { first_pass: Matcher::new(first), second_pass: Matcher::new(second) }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &AddedToken> {
        self.first_pass.tokens.iter().chain(&self.second_pass.tokens)
    }

    /// Calls `each` for every segment of `text`, in order. With [`Special::Plain`] special tokens count as text.
    pub(crate) fn split<'t>(&self, text: &'t str, special: Special, mut each: impl FnMut(Segment<'t>)) {
        self.first_pass.split(text, special, &mut |segment| match segment {
            Segment::Token(_) => each(segment),
            Segment::Text(text) => self.second_pass.split(text, special, &mut each),
        });
    }
}

/// The tokens of one pass.
#[derive(Debug)]
struct Matcher {
    /// The longest first: the first that matches is the one to take.
    tokens: Vec<AddedToken>,
    /// Whether a token starts with this byte.
    starts: [bool; 256],
}

impl Matcher {
    fn new(mut tokens: Vec<AddedToken>) -> Self {
        tokens.sort_by_key(|token| core::cmp::Reverse(token.content.len()));
        let mut starts = [false; 256];
        for byte in tokens.iter().filter_map(|token| token.content.bytes().next()) {
            starts[usize::from(byte)] = true;
        }
        Matcher { tokens, starts }
    }

    fn split<'t>(&self, text: &'t str, special: Special, each: &mut impl FnMut(Segment<'t>)) {
        let bytes = text.as_bytes();
        let (mut text_start, mut at) = (0, 0);
        while let Some(skip) = bytes[at..].iter().position(|&byte| self.starts[usize::from(byte)]) {
            at += skip;
            let Some(token) = self.tokens.iter().find(|token| bytes[at..].starts_with(token.content.as_bytes())) else {
                at += 1;
                continue;
            };
            let end = at + token.content.len();
            // A special token that counts as text still hides what starts inside it, as in the reference.
            if !(token.special && special == Special::Plain) {
                if text_start < at {
                    each(Segment::Text(&text[text_start..at]));
                }
                each(Segment::Token(token.id));
                text_start = end;
            }
            at = end;
        }
        if text_start < text.len() {
            each(Segment::Text(&text[text_start..]));
        }
    }
}
