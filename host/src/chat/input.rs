//! What a line that is typed means.

use std::path::PathBuf;

/// The commands, for `/help`.
pub const HELP: &str = "\
/help          tell these commands
/system TEXT   tell the model TEXT before the conversation; without TEXT, what its template says
/save FILE     write the conversation to FILE, as `lockstep generate --messages FILE` takes it
/reset         begin a new conversation
/quit          end, as Ctrl-D does
//TEXT         say a message that begins with /
Ctrl-C stops an answer. Anything else is a message to the model.";

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub enum Input {
    /// Something to answer.
    Message(String),
    /// `/help`
    Help,
    /// `/reset`
    Reset,
    /// `/system`; nothing for the template's own.
    System(Option<String>),
    /// `/save`
    Save(PathBuf),
    /// `/quit`
    Quit,
    /// Something else that begins with a slash, and what is wrong with it.
    Wrong(String),
}

impl Input {
    /// What `line` means; nothing if it is blank.
    pub fn parse(line: &str) -> Option<Input> {
        let trimmed = line.trim();
        if trimmed.is_empty() {
            return None;
        }
        let Some(command) = trimmed.strip_prefix('/') else { return Some(Input::Message(line.to_string())) };
        if command.starts_with('/') {
            return Some(Input::Message(command.to_string()));
        }
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        let alone =
            |input| if rest.is_empty() { input } else { Input::Wrong(format!("/{name} takes nothing after it")) };
        Some(match name {
            "help" => alone(Input::Help),
            "reset" => alone(Input::Reset),
            "quit" => alone(Input::Quit),
            "system" => Input::System((!rest.is_empty()).then(|| rest.to_string())),
            "save" if rest.is_empty() => Input::Wrong("/save takes the name of a file".to_string()),
            "save" => Input::Save(rest.into()),
            _ => Input::Wrong(format!("there is no command /{name}; /help tells those that there are")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_message_or_a_command() {
        let message = |text: &str| Some(Input::Message(text.to_string()));
        assert_eq!(Input::parse(" Hello / there "), message(" Hello / there "));
        assert_eq!(Input::parse("//help"), message("/help"));
        assert_eq!((Input::parse(""), Input::parse(" \t")), (None, None));
        for (line, input) in [
            ("/help", Input::Help),
            (" /reset ", Input::Reset),
            ("/quit", Input::Quit),
            ("/system", Input::System(None)),
            ("/system  Be  brief. ", Input::System(Some("Be  brief.".to_string()))),
            ("/save my talk.json", Input::Save("my talk.json".into())),
        ] {
            assert_eq!(Input::parse(line), Some(input), "{line}");
        }
    }

    #[test]
    fn a_command_that_is_none_says_what_to_do() {
        for (line, words) in [("/halp", "/help"), ("/", "/help"), ("/save", "file"), ("/quit now", "nothing after it")]
        {
            let Some(Input::Wrong(text)) = Input::parse(line) else { panic!("{line} is a command") };
            assert!(text.contains(words), "{text}");
        }
    }
}
