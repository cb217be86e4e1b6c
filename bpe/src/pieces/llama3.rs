//! The pattern of Llama 3, and with `\p{N}` in place of `\p{N}{1,3}` that of Qwen2:
//!
//! ```text
//! (?i:'s|'t|'re|'ve|'m|'ll|'d) | [^\r\n\p{L}\p{N}]?\p{L}+ | \p{N}{1,3} |  ?[^\s\p{L}\p{N}]+[\r\n]* | \s*[\r\n]+ | \s+(?!\S) | \s+
//! ```
//!
//! * A letter begins a word; so does any other character but a number and a line end, if a letter follows.
//! * What is no letter, number or space goes on to the last of its kind, with the line ends after it.
//! * `\s*[\r\n]+` takes a run of spaces up to its last line end: `\s*` takes them all and gives back what comes after it.
//! * A run without a line end is one piece at the end of the text; before anything else its last character is left over.

use super::class_at;
use crate::classes::Class;

/// The length of the piece at the start of `text`, which is not empty, with so many numbers in it at most.
#[inline]
pub(super) fn piece_len(text: &str, numbers: usize) -> usize {
    if let Some(len) = contraction_len(text.as_bytes()) {
        return len;
    }
    let Some((first, first_len)) = peek(text, 0) else { return 0 };
    let second = peek(text, first_len).map(|(class, _)| class);
    match first {
        Class::Letter => run(text, Class::Letter, first_len),
        Class::Number => (1..numbers).fold(first_len, |end, _| match peek(text, end) {
            Some((Class::Number, len)) => end + len,
            _ => end,
        }),
        _ if second == Some(Class::Letter) && !starts_with_line_end(text) => run(text, Class::Letter, first_len),
        Class::Space if second == Some(Class::Other) && text.starts_with(' ') => others(text, first_len),
        Class::Space => spaces(text),
        Class::Other | Class::NewNumber => others(text, first_len),
    }
}

/// Class and length of the character at `at`, as the pattern sees it.
#[inline]
fn peek(text: &str, at: usize) -> Option<(Class, usize)> {
    match class_at(text, at)? {
        (Class::NewNumber, len) => Some((Class::Other, len)),
        seen => Some(seen),
    }
}

/// The end of the run of `class` that goes through `at`.
#[inline]
fn run(text: &str, class: Class, mut at: usize) -> usize {
    while let Some((next, len)) = peek(text, at)
        && next == class
    {
        at += len;
    }
    at
}

/// `[^\s\p{L}\p{N}]+[\r\n]*` from within its first part on.
fn others(text: &str, at: usize) -> usize {
    let end = run(text, Class::Other, at);
    end + text.as_bytes()[end..].iter().take_while(|byte| is_line_end(**byte)).count()
}

/// What a run of spaces at the start gives: see above.
fn spaces(text: &str) -> usize {
    let (mut end, mut last, mut after_line_end) = (0, 0, None);
    while let Some((Class::Space, len)) = peek(text, end) {
        if starts_with_line_end(&text[end..]) {
            after_line_end = Some(end + len);
        }
        end += len;
        last = len;
    }
    match after_line_end {
        Some(end) => end,
        None if end == last || end == text.len() => end,
        None => end - last,
    }
}

fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

fn starts_with_line_end(text: &str) -> bool {
    text.bytes().next().is_some_and(is_line_end)
}

/// The length of `(?i:'s|'t|'re|'ve|'m|'ll|'d)` at the start, which is tried before anything else. U+017F is an `s`, too.
#[inline]
fn contraction_len(bytes: &[u8]) -> Option<usize> {
    let [b'\'', rest @ ..] = bytes else { return None };
    match rest {
        [b's' | b'S' | b't' | b'T' | b'm' | b'M' | b'd' | b'D', ..] => Some(2),
        [b'r' | b'R' | b'v' | b'V', b'e' | b'E', ..] | [b'l' | b'L', b'l' | b'L', ..] | [0xc5, 0xbf, ..] => Some(3),
        _ => None,
    }
}
