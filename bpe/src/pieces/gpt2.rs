//! The pattern of GPT-2:
//!
//! ```text
//! 's|'t|'re|'ve|'m|'ll|'d | ?\p{L}+ | ?\p{N}+ | ?[^\s\p{L}\p{N}]+ | \s+(?!\S) | \s+
//! ```
//!
//! `\s+(?!\S)` followed by `\s+` means: a run of spaces is one piece at the end of the text; before anything else
//! its last character is left over, and joins what follows if it is U+0020. With `Digits` every number
//! character is a piece of its own, and to the pattern the text *ends* there: in `x  12` both spaces stay together.

use super::class_at;
use crate::classes::Class;

/// The length of the piece at the start of `text`, which is not empty; `digits` if numbers are cut out first.
#[inline]
pub(super) fn piece_len(text: &str, digits: bool) -> usize {
    let Some((first, first_len)) = peek(text, 0, digits) else {
        // `Digits` cuts this character out.
        return class_at(text, 0).map_or(0, |(_, len)| len);
    };
    if let Some(len) = contraction_len(text.as_bytes()) {
        return len;
    }
    if first != Class::Space {
        return run(text, first, first_len, digits).0;
    }
    if text.starts_with(' ')
        && let Some((class, len)) = peek(text, 1, digits)
        && class != Class::Space
    {
        return run(text, class, 1 + len, digits).0;
    }
    let (end, last) = run(text, Class::Space, 0, digits);
    let one_character = end == last;
    let at_the_end = peek(text, end, digits).is_none();
    if one_character || at_the_end { end } else { end - last }
}

/// Class and length of the character at `at`; `None` where the pattern sees the end of the text.
#[inline]
fn peek(text: &str, at: usize, digits: bool) -> Option<(Class, usize)> {
    let (class, len) = class_at(text, at)?;
    match (class, digits) {
        (Class::Number | Class::NewNumber, true) => None,
        (Class::NewNumber, false) => Some((Class::Other, len)),
        _ => Some((class, len)),
    }
}

/// The end of the run of `class` that goes through `at`, and the length of its last character.
#[inline]
fn run(text: &str, class: Class, mut at: usize, digits: bool) -> (usize, usize) {
    let mut last = 0;
    while let Some((next, len)) = peek(text, at, digits)
        && next == class
    {
        at += len;
        last = len;
    }
    (at, last)
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
