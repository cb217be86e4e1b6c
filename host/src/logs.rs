//! What is logged on stderr: lines of text, or each line one JSON object.
//!
//! A line is an event and an event is a line: whatever a client sends, no control character of it reaches a terminal, and no
//! line feed begins a line that looks like another event.

use std::fmt::Write as _;
use std::io::{self, Write};

use tracing::level_filters::LevelFilter;

use crate::terminal;

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: time, level, message, fields.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Writes events from now on, up to `level`.
pub fn start(level: LevelFilter, format: LogFormat) {
    let events = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(|| Escaping(io::stderr()))
        .with_ansi(false)
        .with_target(false)
        // Where stderr is closed they could only be written there, which would end the program.
        .log_internal_errors(false);
    match format {
        LogFormat::Text => events.init(),
        LogFormat::Json => {
            events.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
            std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
        }
    }
}

/// Says `line`: as it is, or as an event where every line is JSON.
pub fn say(format: LogFormat, line: &str) {
    match format {
        // Whoever closed stderr does not want to know.
        LogFormat::Text => drop(writeln!(io::stderr(), "{line}")),
        LogFormat::Json => tracing::info!("{line}"),
    }
}

/// Says why the program ends.
pub fn fail(format: LogFormat, error: &dyn std::error::Error) {
    match format {
        // As in `say`; what failed may be told in the words of a file of others.
        LogFormat::Text => drop(writeln!(io::stderr(), "error: {}", terminal::line(&error.to_string()))),
        LogFormat::Json => tracing::error!("{error}"),
    }
}

/// Writes events with their control characters as `\u001b`, which is right in a JSON string too.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    /// Takes one whole event, as the subscriber gives it; the line feed at its end stays.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let mut escaped = String::with_capacity(text.len());
        for c in line.chars() {
            if c.is_control() {
                // Writing to a string does not fail.
                let _ = write!(escaped, "\\u{:04x}", u32::from(c));
            } else {
                escaped.push(c);
            }
        }
        escaped.push_str(&text[line.len()..]);
        self.0.write_all(escaped.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(event: &str) -> String {
        let mut writer = Escaping(Vec::new());
        writer.write_all(event.as_bytes()).unwrap();
        String::from_utf8(writer.0).unwrap()
    }

    #[test]
    fn an_event_is_one_line_without_control_characters() {
        assert_eq!(written("a é 🙂\n"), "a é 🙂\n");
        assert_eq!(written("\x1b[2Ja\r\nb\t\u{7f}\u{9b}\n"), "\\u001b[2Ja\\u000d\\u000ab\\u0009\\u007f\\u009b\n");
        let json = written("{\"a\":\"\u{9b}\"}\n");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["a"], "\u{9b}");
    }
}
