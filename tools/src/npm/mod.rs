//! `tools package`: the engine of the page as an npm package, for pages of others.
//!
//! The modules are those of the page, as they are: what the engine needs of them, with all builds of the WebAssembly module.

mod modules;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bundle::{self, BundleError, Choice, FolderError, Replacement};
use crate::file::{FileError, at};
use crate::packages::{self, Need};
use crate::process::{self, ProcessError};
use crate::workspace::{Workspace, WorkspaceError};

/// The package's folder, in the folder of the command.
const FOLDER: &str = "lockstep";
/// The package's manifest, written by hand.
const MANIFEST: &str = "browser/npm/package.json";
/// What stands in it for the version of the workspace.
const VERSION: &str = r#""version": "workspace""#;
/// The module that users import.
const ENTRY: &str = "engine.js";
/// Files that no module names: where they are in the repository, and in the package.
const BESIDE: [(&str, &str); 3] =
    [("browser/page/engine.d.ts", "engine.d.ts"), ("browser/npm/README.md", "README.md"), ("LICENSE", "LICENSE")];

/// The command line of `package`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// The folder to make; one that this command made before is replaced [default: npm in cargo's target folder].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Why there is no package.
#[derive(Debug, thiserror::Error)]
pub enum NpmError {
    /// The repository was not found.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// npm is missing.
    #[error(transparent)]
    Packages(#[from] packages::PackageError),
    /// The page is not there.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The folder is somebody else's, or cannot be replaced.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// npm failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A module needs something that is not beside it.
    #[error("{module} names {reference}, which does not lead to a file of the page")]
    Outside {
        /// The module.
        module: String,
        /// The path in it.
        reference: String,
    },
    /// The package's manifest is none.
    #[error("{MANIFEST} is not what it should be: {0}")]
    Manifest(String),
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The folder with the package's files.
    pub folder: PathBuf,
    /// The same as `npm install` takes it.
    pub tarball: PathBuf,
}

/// Makes the package, and says where it is.
///
/// # Errors
/// As [`build`].
pub fn run(options: &Options) -> Result<(), NpmError> {
    let workspace = Workspace::find()?;
    let out = match &options.out {
        Some(out) => std::path::absolute(out).map_err(at(out))?,
        None => workspace.target.join("npm"),
    };
    let package = build(&workspace, &out)?;
    eprintln!("The package is in {}: `npm install {}`.", workspace.short(&package.folder), package.tarball.display());
    Ok(())
}

/// Makes the package's folder and its tarball in `out`.
///
/// # Errors
/// If `out` is somebody else's, the page cannot be built, or npm fails; the folder is then as it was.
pub fn build(workspace: &Workspace, out: &Path) -> Result<Package, NpmError> {
    let bundle = workspace.bundle();
    bundle::build(workspace, &bundle, Choice::Auto)?;
    pack(workspace, &bundle, &workspace.version, out)
}

/// Makes the package's folder and its tarball in `out`, of that version and of the page in the folder `bundle`. npm lists the files with
/// their sizes.
///
/// # Errors
/// If `out` is somebody else's, or npm fails; the folder is then as it was.
pub fn pack(workspace: &Workspace, bundle: &Path, version: &str, out: &Path) -> Result<Package, NpmError> {
    packages::ensure(&[Need::program(&["npm"], "npm", "packs the package")])?;
    let replacement = Replacement::of(out, &format!("{FOLDER}/package.json"))?;
    let folder = replacement.path().join(FOLDER);
    for name in modules::needed(bundle, ENTRY)? {
        copy(&bundle.join(&name), &folder.join(&name))?;
    }
    for (from, name) in BESIDE {
        copy(&workspace.root.join(from), &folder.join(name))?;
    }
    let template = workspace.root.join(MANIFEST);
    let manifest = manifest(&fs::read_to_string(&template).map_err(at(&template))?, version)?;
    let path = folder.join("package.json");
    fs::write(&path, manifest).map_err(at(&path))?;
    let mut npm = Command::new("npm");
    npm.args(["pack", "--ignore-scripts", "--pack-destination", ".."]).current_dir(&folder);
    // Nothing is asked of a registry.
    process::run(npm.env("npm_config_update_notifier", "false"))?;
    replacement.finish()?;
    Ok(Package { folder: out.join(FOLDER), tarball: out.join(format!("lockstep-{version}.tgz")) })
}

/// The package's manifest: the one written by hand, with the version of the workspace. Its text stays as it is, since the order of the
/// conditions in `exports` counts.
fn manifest(template: &str, version: &str) -> Result<String, NpmError> {
    let places = template.matches(VERSION).count();
    if places != 1 {
        return Err(NpmError::Manifest(format!("{VERSION} stands there {places} times, not once")));
    }
    Ok(template.replace(VERSION, &format!("\"version\": \"{version}\"")))
}

fn copy(from: &Path, to: &Path) -> Result<(), FileError> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(at(folder))?;
    }
    fs::copy(from, to).map(|_| ()).map_err(at(from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_has_the_version_of_the_workspace() {
        let made = manifest("{\n  \"version\": \"workspace\",\n  \"b\": 1,\n  \"a\": 2\n}\n", "1.2.3").unwrap();
        assert_eq!(made, "{\n  \"version\": \"1.2.3\",\n  \"b\": 1,\n  \"a\": 2\n}\n");
        let error = manifest("{}", "1.2.3").unwrap_err().to_string();
        assert!(error.contains(MANIFEST) && error.contains("0 times"), "{error}");
    }
}
