//! `lockstep chat`: a conversation in the terminal.
//!
//! [`conversation`] has the messages and answers them, [`lines`] is where they come from, [`input`] what a line means, and
//! [`interrupt`] what Ctrl-C does.

mod conversation;
mod input;
mod interrupt;
mod lines;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use kernel::Exec;
use kernel::generate::FinishReason;
use kernel::transcript::Identity;
use loader::SafeFile;
use serde::Serialize;
use session::Stop;

use crate::generate::Report;
use crate::open::Opened;
use crate::terminal::print_json;
use crate::terminal::shown;
use crate::{Failure, Outcome, cli};
use conversation::{Answer, Conversation, Settings};
use input::{HELP, Input};
use interrupt::Interrupt;
use lines::{Line, Lines};

/// What `chat --json` prints for each answer.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    report: Report,
    /// How many tokens of the prompt were known from the answer before.
    cached_tokens: usize,
}

/// A conversation, and where it is shown.
struct Chat<'a> {
    opened: &'a Opened,
    exec: Exec<'a>,
    conversation: Conversation<'a>,
    interrupt: Interrupt,
    /// What the answers are computed with, where they are told as JSON.
    identity: Option<Identity>,
}

/// Runs the command until there are no more lines.
///
/// # Errors
/// If the model cannot be opened, or is none for conversations, or the answers cannot be written; and where nobody types, if a
/// line cannot be answered or obeyed.
pub fn chat(arguments: cli::Chat) -> Outcome {
    let settings = Settings {
        sampler: arguments.sampling.sampler()?,
        stop: Stop::new(arguments.stop)?,
        max_tokens: arguments.max_tokens.map(|tokens| tokens.get()),
    };
    let opened = arguments.compute.open()?;
    let conversation = Conversation::new(&opened, settings, arguments.system)?;
    let pool = arguments.compute.pool()?;
    let exec = arguments.compute.exec(&pool);
    let identity = if arguments.json { Some(opened.identity(opened.checkpoint.digest())) } else { None };
    let mut lines = Lines::open()?;
    let typed = lines.typed();
    let mut chat = Chat { opened: &opened, exec, conversation, interrupt: Interrupt::listen(typed)?, identity };
    if typed {
        note(format_args!("{}, {}. /help tells the commands, Ctrl-D ends.", opened.name, exec.backend.name()));
    }
    for number in 1_usize.. {
        let line = match lines.next()? {
            Line::Text(line) => line,
            Line::Interrupted => {
                note(format_args!("Ctrl-D or /quit ends."));
                continue;
            }
            Line::End => break,
        };
        match chat.obey(&line) {
            Ok(true) => {}
            Ok(false) => break,
            // Nobody reads the answers any more.
            Err(error) if error.is::<io::Error>() => return Err(error),
            Err(error) if typed => note(format_args!("error: {error}")),
            Err(error) => return Err(format!("line {number}: {error}").into()),
        }
    }
    Ok(())
}

impl Chat<'_> {
    /// Does what a line says; whether there is to be another one.
    fn obey(&mut self, line: &str) -> Result<bool, Failure> {
        match Input::parse(line) {
            None => {}
            Some(Input::Quit) => return Ok(false),
            Some(Input::Help) => note(format_args!("{HELP}")),
            Some(Input::Reset) => self.conversation.reset(),
            Some(Input::System(text)) => self.conversation.tell(text),
            Some(Input::Save(file)) => self.save(&file)?,
            Some(Input::Wrong(why)) => return Err(why.into()),
            Some(Input::Message(message)) => self.answer(&message)?,
        }
        Ok(true)
    }

    fn save(&self, file: &Path) -> Outcome {
        let saved = SafeFile::write(file, self.conversation.to_json().as_bytes());
        saved.map_err(|error| format!("/save {}: {error}; name a file in a folder that is there", file.display()))?;
        note(format_args!("saved to {}", file.display()));
        Ok(())
    }

    fn answer(&mut self, message: &str) -> Outcome {
        let Chat { opened, exec, conversation, interrupt, identity } = self;
        let mut stdout = io::stdout().lock();
        let (terminal, json) = (stdout.is_terminal(), identity.is_some());
        interrupt.begin();
        let answered = conversation.answer(
            message,
            *exec,
            || interrupt.asked(),
            |piece| {
                if json {
                    return Ok(());
                }
                stdout.write_all(shown(piece, terminal).as_bytes())?;
                Ok(stdout.flush()?)
            },
        );
        interrupt.end();
        let answer = answered?;
        match identity {
            Some(identity) => print_json(&told(opened, *exec, identity, &answer))?,
            None => writeln!(stdout)?,
        }
        let context = opened.model.config().context;
        let tokens = answer.generation.prompt().len() + answer.timings.predicted_n;
        match answer.reason {
            None if answer.timings.predicted_n == 0 => {
                note(format_args!("stopped before the answer; the message is left out"));
            }
            None => note(format_args!("stopped")),
            Some(FinishReason::Length) if tokens == context => note(format_args!(
                "the context of {context} tokens is full: /reset begins a new conversation, /save FILE keeps this one"
            )),
            Some(FinishReason::Length) => note(format_args!("ended by --max-tokens")),
            Some(FinishReason::Stop) => {}
        }
        Ok(())
    }
}

/// Tells something beside the answers. Where stderr is closed nobody wants to know.
fn note(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// An answer as JSON.
fn told(opened: &Opened, exec: Exec<'_>, identity: &Identity, answer: &Answer<'_>) -> Told {
    let mut report = Report::new(opened, identity, exec, answer.generation.prompt());
    report.end(identity, answer.generation, answer.text.clone(), (answer.reason, answer.timings));
    Told { report, cached_tokens: answer.cached }
}
