//! What a model says, on a terminal: it must not drive the terminal that shows it.

use std::borrow::Cow;

/// `text` as it is to be written: as it is into a file or a pipe; on a terminal with its control characters, other than newline
/// and tab, written as `\u{..}`.
pub fn shown(text: &str, terminal: bool) -> Cow<'_, str> {
    if !terminal || !text.chars().any(drives) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if drives(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// The same of a line of JSON, which stays JSON with the same meaning.
pub fn shown_json(json: &str, terminal: bool) -> Cow<'_, str> {
    if !terminal || !json.chars().any(drives) {
        return Cow::Borrowed(json);
    }
    let escape = |c: char| if drives(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    Cow::Owned(json.chars().map(escape).collect())
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
    fn json_means_the_same() {
        let json = serde_json::to_string(ORDERS).unwrap();
        assert!(json.contains('\u{9b}'));
        let shown = shown_json(&json, true);
        assert!(!shown.chars().any(char::is_control));
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), ORDERS);
        assert_eq!(shown_json(&json, false), json);
    }
}
