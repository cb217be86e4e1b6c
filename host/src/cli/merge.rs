//! The arguments of `merge`.

use std::path::PathBuf;

use clap::Args;

use super::{ModelArguments, SavedType, Threads};

/// `lockstep merge`
#[derive(Args, Clone, Debug)]
pub struct Merge {
    #[command(flatten)]
    pub model: ModelArguments,
    #[command(flatten)]
    pub threads: Threads,
    /// Folder to write; it must be new or empty
    #[arg(long, value_name = "DIR")]
    pub save: PathBuf,
    /// How the weights are stored; bf16 rounds them to nearest even
    #[arg(long, env = "LOCKSTEP_DTYPE", value_enum, default_value_t = SavedType::F32)]
    pub dtype: SavedType,
    /// Print one JSON object with the digests
    #[arg(long)]
    pub json: bool,
}
