//! What the manifests ask for: enough to build with the oldest versions that they allow, and nothing that is not used.

use std::process::Command;

use super::copy::{self, CopyError};
use crate::process::{self, ProcessError};
use crate::workspace::{self, Workspace};

/// cargo-machete, which looks for dependencies that no source names.
const MACHETE: &str = "0.9.2";

/// Why the manifests are not what they should be.
#[derive(Debug, thiserror::Error)]
pub enum ManifestsError {
    /// The sources cannot be put elsewhere.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The oldest versions do not build.
    #[error(
        "the workspace does not build with the oldest versions that its manifests allow; raise what is too low: {0}"
    )]
    Oldest(#[source] ProcessError),
    /// cargo-machete cannot be installed.
    #[error("cargo-machete cannot be installed: {0}")]
    Machete(#[source] ProcessError),
    /// A dependency is not used.
    #[error(
        "a dependency is named and not used; remove it, or name it under [package.metadata.cargo-machete] with the reason: {0}"
    )]
    Unused(#[source] ProcessError),
}

/// Builds a copy of the workspace with the oldest versions of what it names itself.
///
/// # Errors
/// If it does not build.
pub(super) fn minimal(workspace: &Workspace) -> Result<(), ManifestsError> {
    let copy = copy::workspace(workspace, &workspace.target.join("check/minimal/tree"))?;
    let cargo = |arguments: &[&str]| {
        let mut cargo = workspace::cargo();
        // Choosing these versions is an unstable option of a stable cargo.
        cargo.current_dir(&copy.root).args(arguments).env("RUSTC_BOOTSTRAP", "1").env_remove("CARGO_TARGET_DIR");
        process::run(&mut cargo).map_err(ManifestsError::Oldest)
    };
    cargo(&["update", "-Zdirect-minimal-versions"])?;
    // Beside the copy, which is made anew each time.
    let target = workspace.target.join("check/minimal/target");
    cargo(&["check", "--workspace", "--all-targets", "--target-dir", &target.to_string_lossy()])
}

/// Looks for dependencies that no source names.
///
/// # Errors
/// If there is one, or cargo-machete cannot be had.
pub(super) fn unused(workspace: &Workspace) -> Result<(), ManifestsError> {
    let machete = workspace.cargo_program("cargo-machete", MACHETE).map_err(ManifestsError::Machete)?;
    // Folders of our own: `target` has copies of manifests.
    let mut command = Command::new(machete);
    command.current_dir(&workspace.root).args(["bpe", "browser", "host", "kernel", "loader", "tools"]);
    process::run(&mut command).map_err(ManifestsError::Unused)
}
