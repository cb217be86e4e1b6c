//! The `lockstep` command: generate, chat, tokenize, logits, score, bench, train, gradients, merge, aggregate, verify, diff, keygen,
//! doctor, completions, serve.
//!
//! `cli` is what users type; each command is a file of its name. [`open`] turns a model folder into a model, [`pool`]
//! gives the kernel its threads, `run` drives one generation for the commands; the server (`serve`) drives several, on
//! one engine thread. Nothing here decides a bit of a result: that is the kernel's.
#![forbid(unsafe_code)]

mod aggregate;
mod batch;
mod bench;
mod chat;
mod cli;
mod diff;
mod doctor;
mod generate;
mod gradients;
mod keys;
mod logits;
mod memory;
mod merge;
pub mod open;
pub mod pool;
mod receipt;
mod run;
mod save;
mod score;
mod serve;
mod terminal;
mod tokenize;
mod trace;
mod train;
mod verify;

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use cli::Command;

/// Why a command failed; shown to the user as it is.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a command returns.
pub type Outcome = Result<(), Failure>;

/// Runs the command that the process was started with.
///
/// Exit codes: 0 ok, 1 failure, 2 usage (clap's); those of `verify` and `diff` from 3 on.
pub fn main() -> ExitCode {
    let cli = cli::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    tracing_subscriber::fmt()
        .with_max_level(cli.log_level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        // Where stderr is closed they could only be written there, which would end the program.
        .log_internal_errors(false)
        .init();
    let outcome = match cli.command {
        Command::Serve(arguments) => serve::serve(arguments),
        Command::Generate(arguments) => generate::generate(arguments),
        Command::Chat(arguments) => chat::chat(arguments),
        Command::Tokenize(arguments) => tokenize::tokenize(arguments),
        Command::Logits(arguments) => logits::logits(arguments),
        Command::Score(arguments) => score::score(arguments),
        Command::Bench(arguments) => bench::bench(arguments),
        Command::Train(arguments) => train::train(arguments),
        Command::Gradients(arguments) => gradients::gradients(arguments),
        Command::Merge(arguments) => merge::merge(arguments),
        Command::Aggregate(arguments) => aggregate::aggregate(arguments),
        Command::Keygen(arguments) => keys::keygen(arguments),
        Command::Verify(arguments) => return end(verify::verify(arguments)),
        Command::Diff(arguments) => return end(diff::diff(arguments)),
        Command::Completions(arguments) => cli::completions(&arguments),
        Command::Doctor(arguments) => return end(doctor::doctor(arguments)),
    };
    end(outcome.map(|()| ExitCode::SUCCESS))
}

/// The exit code of what a command returned.
fn end(outcome: Result<ExitCode, Failure>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        // Whoever read our output has seen enough.
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
