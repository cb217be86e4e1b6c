//! `lockstep completions`.

use std::io::{self, Write};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use crate::Outcome;

/// `lockstep completions`
#[derive(Args, Clone, Debug)]
pub struct Completions {
    /// The shell that reads the script
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Runs the command: the script on stdout.
///
/// # Errors
/// If stdout cannot be written.
pub fn completions(arguments: &Completions) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "lockstep", &mut script);
    Ok(io::stdout().write_all(&script)?)
}
