//! The arguments of `doctor`.

use clap::Args;

use super::{Compute, Listening};

/// `lockstep doctor`
#[derive(Args, Clone, Debug)]
pub struct Doctor {
    #[command(flatten)]
    pub compute: Compute,
    #[command(flatten)]
    pub listening: Listening,
    /// Print one JSON object with the checks
    #[arg(long)]
    pub json: bool,
}
