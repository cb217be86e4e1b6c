//! The arguments of `doctor`.

use clap::Args;

use super::{Context, Listening, ModelArguments, Threads};

/// `lockstep doctor`
#[derive(Args, Clone, Debug)]
pub struct Doctor {
    #[command(flatten)]
    pub model: ModelArguments,
    #[command(flatten)]
    pub threads: Threads,
    #[command(flatten)]
    pub context: Context,
    #[command(flatten)]
    pub listening: Listening,
    /// Print one JSON object with the checks
    #[arg(long)]
    pub json: bool,
}
