//! The arguments of `chat`.

use std::num::NonZeroUsize;

use clap::Args;

use super::{Compute, Sampling};

/// `lockstep chat`
#[derive(Args, Clone, Debug)]
pub struct Chat {
    #[command(flatten)]
    pub compute: Compute,
    #[command(flatten)]
    pub sampling: Sampling,
    /// What the model is told before the conversation [default: what its chat template says]
    #[arg(long, env = "LOCKSTEP_SYSTEM", value_name = "TEXT", allow_hyphen_values = true)]
    pub system: Option<String>,
    /// End each answer before TEXT; may be given several times
    #[arg(long, env = "LOCKSTEP_STOP", value_name = "TEXT", allow_hyphen_values = true)]
    pub stop: Vec<String>,
    /// End each answer after N tokens [default: where the model ends it, or the context]
    #[arg(long, env = "LOCKSTEP_MAX_TOKENS", value_name = "N")]
    pub max_tokens: Option<NonZeroUsize>,
    /// Print one JSON object for each answer, as `generate --json` does, instead of its text
    #[arg(long)]
    pub json: bool,
}
