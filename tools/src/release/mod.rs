//! `tools release`: all that a release consists of, in one folder, whole or not at all (docs/release.md).

mod archive;
mod artefacts;
mod licences;
mod state;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use loader::digest::{hex, sha256};
use serde_json::json;

use crate::bundle::{self, BundleError, FolderError, Replacement};
use crate::file::{self, FileError, at};
use crate::metadata::MetadataError;
use crate::npm;
use crate::process::{self, ProcessError};
use crate::workspace::{self, Workspace, WorkspaceError};
use artefacts::Artefact;
use state::State;

/// What the release was made from and by: also the file by which a folder of ours is known.
const ABOUT: &str = "release.json";
/// The digests of all other files, as `sha256sum --check` reads them.
pub const SUMS: &str = "SHA256SUMS";

/// What a release consists of, beside [`ABOUT`] and [`SUMS`]: one line for each.
const ARTEFACTS: [Artefact; 4] = [artefacts::SOURCE, artefacts::VECTORS, artefacts::PAGE, artefacts::PROGRAM];

/// The command line of `release`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// The folder to make; one that this command made before is replaced [default: lockstep- and the version, in cargo's target folder].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Make a pre-release of this name, such as rc.1, of what the changelog has under Unreleased.
    #[arg(long, value_name = "NAME")]
    pub pre: Option<String>,
}

/// Why there is no release.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The repository was not found.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// A file is changed or unknown to git.
    #[error(
        "a release is made of a commit, and these files differ from the last one; commit them or put them back:\n{0}"
    )]
    Changed(String),
    /// The commit changed meanwhile.
    #[error("the commit was {0} when this began and is another one now; call this command again")]
    Moved(String),
    /// The name of a pre-release is none.
    #[error(
        "--pre {0:?} is no name of a pre-release: letters, digits and hyphens, with dots between them, such as rc.1"
    )]
    Pre(String),
    /// The changelog does not tell what is released.
    #[error(
        "CHANGELOG.md has nothing under `## [{heading}]`, of which {version} would be made; a release has a heading `## [<version>] - \
         <year>-<month>-<day>` with the version of Cargo.toml, a pre-release (--pre) is made of `## [Unreleased]`"
    )]
    Changelog {
        /// The heading that was looked for.
        heading: String,
        /// The version.
        version: String,
    },
    /// Git's answer is none.
    #[error("git says that the commit was made at {0:?}, which is no number of seconds")]
    Time(String),
    /// Cargo does not tell the packages.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A program failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The page does not build.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The npm package cannot be made.
    #[error(transparent)]
    Npm(#[from] npm::NpmError),
    /// The folder is somebody else's, or cannot be replaced.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A release on its way.
struct Release<'a> {
    workspace: &'a Workspace,
    state: State,
    /// The compiler's name of this machine.
    target: String,
    /// Where its files are made.
    folder: &'a Path,
    /// What is told of them, by their names.
    about: BTreeMap<String, serde_json::Value>,
}

/// Makes the release.
///
/// # Errors
/// If something is not committed, the changelog does not know the version, or a part cannot be made: the folder is then as it was.
pub fn run(options: &Options) -> Result<(), ReleaseError> {
    let workspace = Workspace::find()?;
    let state = State::of(&workspace, options.pre.as_deref())?;
    let out = match &options.out {
        Some(folder) => std::path::absolute(folder).map_err(at(folder))?,
        None => workspace.target.join(format!("lockstep-{}", state.version)),
    };
    let replacement = Replacement::of(&out, ABOUT)?;
    let (target, compiler) = (workspace::host()?, process::capture(Command::new("rustc").arg("-V"))?);
    let (folder, about) = (replacement.path(), BTreeMap::new());
    let mut release = Release { workspace: &workspace, state, target, folder, about };
    for (number, artefact) in ARTEFACTS.iter().enumerate() {
        eprintln!("[{}/{}] {}.", number + 1, ARTEFACTS.len(), artefact.what);
        (artefact.make)(&mut release)?;
    }
    let Release { state, target, about, .. } = release;
    // Building took minutes.
    if State::of(&workspace, options.pre.as_deref())? != state {
        return Err(ReleaseError::Moved(state.commit));
    }
    let State { version, commit, seconds } = state;
    let about = json!({ "version": version, "commit": commit, "commitTime": seconds, "target": target,
        "rustc": compiler, "files": about });
    file::write(&folder.join(ABOUT), &format!("{about:#}\n"))?;
    let sums = sums(folder)?;
    file::write(&folder.join(SUMS), &sums)?;
    replacement.finish()?;
    eprint!("The release is in {}:\n{sums}", out.display());
    Ok(())
}

/// A line for each file of the folder, in the order of their names: its digest and its name.
fn sums(folder: &Path) -> Result<String, ReleaseError> {
    let mut lines = String::new();
    for file in bundle::walk(folder, &[]).map_err(at(folder))? {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        lines += &format!("{}  {name}\n", hex(&sha256(&fs::read(&file).map_err(at(&file))?)));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_that_sha256sum_checks() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.tar.gz", "a.json"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let sums = sums(folder.path()).unwrap();
        assert!(sums.lines().next().unwrap().ends_with("  a.json"), "{sums}");
        fs::write(folder.path().join(SUMS), &sums).unwrap();
        let check = || process::capture(Command::new("sha256sum").args(["--check", SUMS]).current_dir(&folder));
        assert_eq!(check().unwrap(), "a.json: OK\nb.tar.gz: OK");
        fs::write(folder.path().join("a.json"), "b").unwrap();
        assert!(check().is_err());
    }
}
