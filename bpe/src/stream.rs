use alloc::{string::String, vec::Vec};
use core::mem;

use crate::{Tokenizer, UnknownToken};

/// Decodes token by token and never gives half a character: bytes that may still become one wait for the next token.
///
/// For every sequence of ids, all that [`push`](Self::push) gives and then [`finish`](Self::finish) is exactly
/// [`Tokenizer::decode`] of the whole.
#[derive(Clone, Default, Debug)]
pub struct StreamDecoder {
    /// The start of a character; at most three bytes between calls.
    waiting: Vec<u8>,
}

impl StreamDecoder {
    /// A decoder at the start of a text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next token and gives the text that is complete now, which may be empty.
    ///
    /// # Errors
    /// If `tokenizer` has no such id; the decoder is as before the call then.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String, UnknownToken> {
        self.waiting.extend_from_slice(tokenizer.token_bytes(id)?);
        let kept = self.waiting.split_off(complete_len(&self.waiting));
        let complete = mem::replace(&mut self.waiting, kept);
        Ok(String::from_utf8_lossy(&complete).into_owned())
    }

    /// Ends the text: U+FFFD if it stops in the middle of a character, otherwise nothing.
    pub fn finish(self) -> String {
        String::from_utf8_lossy(&self.waiting).into_owned()
    }
}

/// The length of `bytes` without the start of a character at its end that more bytes could complete.
///
/// Lossy decoding goes from left to right and resumes right after each character or replaced part, so that a cut here
/// changes nothing.
fn complete_len(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Err(error) = core::str::from_utf8(&bytes[at..]) {
        at += error.valid_up_to();
        match error.error_len() {
            None => return at,
            Some(replaced) => at += replaced,
        }
    }
    bytes.len()
}
