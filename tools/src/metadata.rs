//! What cargo says of packages: `cargo metadata`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::process::{self, ProcessError};
use crate::workspace;

/// Why the packages are not known.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// Cargo does not tell them.
    #[error(transparent)]
    Cargo(#[from] ProcessError),
    /// Cargo's answer is another one than expected.
    #[error("`cargo metadata` answered what is not understood: {0}")]
    Answer(#[from] serde_json::Error),
}

/// The packages of a workspace, and all that they depend on.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
}

#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) repository: Option<String>,
    /// None for a folder of the workspace.
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: PathBuf,
}

impl Metadata {
    /// Asks cargo about the workspace of a folder, with further arguments.
    ///
    /// # Errors
    /// If cargo does not answer.
    pub(crate) fn read(folder: &Path, arguments: &[&str]) -> Result<Metadata, MetadataError> {
        let mut cargo = workspace::cargo();
        cargo.current_dir(folder).args(["metadata", "--locked", "--format-version", "1"]).args(arguments);
        Ok(serde_json::from_str(&process::capture(&mut cargo)?)?)
    }
}
