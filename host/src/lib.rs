//! The `lockstep` command: generate, chat, tokenize, logits, score, bench, train, gradients, merge, aggregate, verify, diff, keygen,
//! doctor, completions, serve.
//!
//! `cli` is what users type; each command is a file of its name. [`open`] turns a model folder into a model, `run` drives one
//! generation for the commands; the server (`serve`) drives several, on one engine thread. Nothing here decides a bit of a result: that is the kernel's.
#![forbid(unsafe_code)]

mod aggregate;
mod batch;
mod bench;
mod chat;
mod cli;
mod data;
mod diff;
mod doctor;
mod generate;
mod gradients;
mod keys;
mod logit_bias;
mod logits;
mod logs;
mod memory;
mod merge;
pub mod open;
mod prompt;
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

use std::io;
use std::process::ExitCode;

use cli::Command;
use logs::LogFormat;
pub use serve::door;

/// Why a command failed; shown to the user as it is.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a command returns.
pub type Outcome = Result<(), Failure>;

/// Runs the command that the process was started with.
///
/// Exit codes: 0 ok, 1 failure, also without a word where nobody reads the output to its end, 2 usage (clap's); those of
/// `verify` and `diff` from 3 on.
pub fn main() -> ExitCode {
    let cli = cli::parse(std::env::args_os()).unwrap_or_else(|error| error.exit());
    let log = cli.log_format;
    logs::start(cli.log_level, log);
    let outcome = match cli.command {
        Command::Serve(arguments) => serve::serve(arguments, log),
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
        Command::Completions(arguments) => cli::completions(&arguments),
        Command::Verify(arguments) => return end(verify::verify(arguments), log),
        Command::Diff(arguments) => return end(diff::diff(arguments), log),
        Command::Doctor(arguments) => return end(doctor::doctor(arguments), log),
    };
    end(outcome.map(|()| ExitCode::SUCCESS), log)
}

/// The exit code of what a command returned.
fn end(outcome: Result<ExitCode, Failure>, log: LogFormat) -> ExitCode {
    match outcome {
        Ok(code) => code,
        // Whoever read our output has seen enough. But a verdict was not told to the end, or a file not written.
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe) => {
            ExitCode::FAILURE
        }
        Err(error) => {
            logs::fail(log, &*error);
            ExitCode::FAILURE
        }
    }
}
