//! `tools measure`: measures all that `docs/performance.md` tells, in one run, and writes it as a table.

mod parts;
mod peers;
mod report;
mod start;
mod streams;

use std::path::PathBuf;

use clap::ValueEnum;

use crate::fetch::{self, FetchError};
use crate::file::{self, FileError};
use crate::packages::PackageError;
use crate::process::{self, ProcessError};
use crate::python::PythonError;
use crate::start::build_server;
use crate::test::TestError;
use crate::workspace::{Workspace, WorkspaceError};
use peers::Peers;

/// Of so many runs the best counts.
const RUNS: usize = 3;

/// A part of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Part {
    /// Prefill, decoding and training; peers: llama.cpp, candle and PyTorch.
    Native,
    /// The time until the first token is there, and the memory of a server.
    Start,
    /// How long requests of a server wait for one another.
    Streams,
    /// Encoding; peers: tiktoken and Hugging Face tokenizers.
    Tokenizer,
    /// The engine in Chromium and Firefox; peers in Chromium: wllama and transformers.js.
    Browser,
    /// The operators of the kernel on every backend, beside what the machine can do.
    Operators,
}

/// The command line of `measure`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Measure other engines beside ours; they are installed under `target/measure`, which takes several gigabytes.
    #[arg(long)]
    pub peers: bool,
    /// Measure only this part (can be given twice) [default: all].
    #[arg(long, value_enum)]
    pub only: Vec<Part>,
    /// Write the result to this file too.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The repository was not found.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// A package is missing.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// There is no Python for the peers.
    #[error(transparent)]
    Python(#[from] PythonError),
    /// The model is not there.
    #[error(transparent)]
    Model(#[from] FetchError),
    /// A program failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The browsers could not be set up.
    #[error(transparent)]
    Browsers(#[from] TestError),
    /// A program's answer lacks something.
    #[error("{0} printed no `{1}`")]
    Answer(&'static str, &'static str),
    /// A program did not do what it was to do.
    #[error("`{line}` did not answer as expected: {said}")]
    Said {
        /// Its command line.
        line: String,
        /// What it said instead.
        said: String,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl MeasureError {
    fn silent(command: &std::process::Command) -> MeasureError {
        MeasureError::Said { line: process::line(command), said: "nothing".into() }
    }
}

/// Measures the parts asked for and prints one Markdown text: date, machine and command, the table, the operators.
///
/// # Errors
/// If the set-up or a program fails; what was measured before is printed, and nothing is written: half a table would mislead.
pub fn run(options: &Options) -> Result<(), MeasureError> {
    let workspace = Workspace::find()?;
    let model = fetch::test_model()?;
    let parts = crate::parts::chosen(&options.only, Part::value_variants());
    build_server(&workspace)?;
    let peers = match options.peers {
        true => Some(Peers::install(&workspace, &model)?),
        false => None,
    };
    let peers = peers.as_ref();
    let heading = report::heading(&workspace);
    let (mut figures, mut operators) = (Vec::new(), None);
    for part in parts {
        let measured = match part {
            Part::Native => parts::native(&workspace, &model, peers),
            Part::Start => start::figures(&workspace, &model),
            Part::Streams => streams::figures(&workspace, &model),
            Part::Tokenizer => parts::tokenizer(&workspace, &model, peers),
            Part::Browser => parts::browser(&workspace, peers),
            Part::Operators => parts::operators(&workspace).map(|text| {
                operators = Some(text);
                Vec::new()
            }),
        };
        match measured {
            Ok(more) => figures.extend(more),
            Err(error) => {
                eprintln!("{heading}\nIncomplete:\n{}", report::table(&figures));
                return Err(error);
            }
        }
    }
    let mut text = heading;
    if !figures.is_empty() {
        text += &format!("\n{}", report::table(&figures));
    }
    if let Some(operators) = operators {
        text += &format!("\n```text\n{operators}\n```\n");
    }
    print!("{text}");
    if let Some(path) = &options.output {
        file::write(path, &text)?;
    }
    Ok(())
}
