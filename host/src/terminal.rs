//! What a model or a file of others says, on a terminal: it must not drive the terminal that shows it.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::Outcome;

/// `text` as it is to be written: as it is into a file or a pipe; on a terminal with its control characters, other than newline
/// and tab, written as `\u{..}`.
pub fn shown(text: &str, terminal: bool) -> Cow<'_, str> {
    if terminal { escaped(text, drives) } else { Cow::Borrowed(text) }
}

/// The same of a line of JSON, which stays JSON with the same meaning.
pub fn shown_json(json: &str, terminal: bool) -> Cow<'_, str> {
    if !terminal || !json.chars().any(drives) {
        return Cow::Borrowed(json);
    }
    let escape = |c: char| if drives(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    Cow::Owned(json.chars().map(escape).collect())
}

/// Prints one JSON object and a line feed on stdout.
///
/// # Errors
/// If stdout cannot be written.
pub fn print_json(value: &impl Serialize) -> Outcome {
    let (json, terminal) = (serde_json::to_string(value)?, io::stdout().is_terminal());
    Ok(writeln!(io::stdout(), "{}", shown_json(&json, terminal))?)
}

/// A bar of `length` steps, drawn as `template` says, on stderr and only if that is a terminal.
pub fn bar(length: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::new(length);
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// `text` within a line of ours: wherever it goes, with all its control characters written as `\u{..}`, so that it begins no line
/// that looks like another one.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, char::is_control)
}

fn escaped(text: &str, which: fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(which) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if which(c) {
            escaped.extend(c.escape_unicode());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// Whether a terminal may take it for an order: ESC and its like, DEL, and the control characters from U+0080 to U+009F.
fn drives(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: &str = "\u{1b}[2J\r\u{7f}\u{9b}";

    #[test]
    fn control_characters_are_shown_not_sent() {
        assert_eq!(shown("a\n\tb é 🙂", true), "a\n\tb é 🙂");
        assert_eq!(shown(ORDERS, true), "\\u{1b}[2J\\u{d}\\u{7f}\\u{9b}");
        assert_eq!(shown(ORDERS, false), ORDERS);
    }

    #[test]
    fn what_others_say_stays_in_its_line() {
        assert_eq!(line("b é 🙂"), "b é 🙂");
        assert_eq!(line("a\n\tb"), "a\\u{a}\\u{9}b");
        assert_eq!(line(ORDERS), "\\u{1b}[2J\\u{d}\\u{7f}\\u{9b}");
    }

    #[test]
    fn json_means_the_same() {
        let json = serde_json::to_string(ORDERS).unwrap();
        assert!(json.contains('\u{9b}'));
        let shown = shown_json(&json, true);
        assert!(!shown.chars().any(char::is_control));
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), ORDERS);
        assert_eq!(shown_json(&json, false), json);
    }
}
