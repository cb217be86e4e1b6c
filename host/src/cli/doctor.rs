//! The arguments of `doctor`.

use std::path::PathBuf;

use clap::Args;

use super::{Context, ModelArguments, Threads};

/// `lockstep doctor`
#[derive(Args, Clone, Debug)]
pub struct Doctor {
    #[command(flatten)]
    pub model: ModelArguments,
    #[command(flatten)]
    pub threads: Threads,
    #[command(flatten)]
    pub context: Context,
    /// Address on which `lockstep serve` is to listen, or listens
    #[arg(long, env = "LOCKSTEP_HOST", value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: String,
    /// Port on which it is to listen, or listens; 0 is any free one
    #[arg(long, env = "LOCKSTEP_PORT", default_value_t = 8080)]
    pub port: u16,
    /// Folder of the page, built by `cargo run --release -p tools -- browser`
    #[arg(long, env = "LOCKSTEP_WEB_ROOT", value_name = "DIR", default_value = "browser/dist")]
    pub web_root: PathBuf,
    /// Print one JSON object with the checks
    #[arg(long)]
    pub json: bool,
}
