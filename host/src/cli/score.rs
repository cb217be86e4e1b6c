//! The arguments of `score`.

use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};

use super::{Compute, Receipting, Special};

/// `lockstep score`
#[derive(Args, Clone, Debug)]
pub struct Score {
    #[command(flatten)]
    pub compute: Compute,
    #[command(flatten)]
    pub special: Special,
    /// JSON lines: {"text":...}, {"prompt":...,"completion":...} (or "context" and "continuation") of which the completion is scored,
    /// {"messages":[...]} of which the assistant's answers are, or {"ids":[...]}
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// File to write: for each line of the data one with its token ids and their log-probabilities; a file that is there is
    /// replaced [default: stdout]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Cut lines that exceed the context, instead of refusing them
    #[arg(long, env = "LOCKSTEP_TRUNCATE", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub truncate: bool,
    #[command(flatten)]
    pub receipt: Receipting,
    /// Print JSON objects: the lines, unless --output takes them, and one with the sum and the digests
    #[arg(long)]
    pub json: bool,
}
