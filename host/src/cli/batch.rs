//! The arguments of `generate` that take many prompts.

use std::path::PathBuf;

use clap::Args;

/// Many prompts instead of one.
#[derive(Args, Clone, Debug)]
pub struct Batch {
    /// Prompts in a file of JSON lines: {"prompt":...}, {"messages":[...]} or {"prompt_ids":[...]}, with an "id" and settings of
    /// their own ("max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "frequency_penalty",
    /// "presence_penalty", "logit_bias", "seed", "stop") where they are others than the flags
    #[arg(long, value_name = "FILE", group = "PromptSource", requires = "output", conflicts_with = "receipt")]
    pub input: Option<PathBuf>,
    /// File for the answers to --input: a line for each, as --json prints it, with its receipt; one that is there already, of a
    /// run that was interrupted, is gone on with
    #[arg(long, value_name = "FILE", requires = "input", conflicts_with_all = ["prompt", "prompt_ids", "messages"])]
    pub output: Option<PathBuf>,
}
