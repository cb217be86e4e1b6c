//! The page's modules, built twice: at other places, with nothing shared but the compiler and cargo's sources, they have the same
//! bytes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::copy::{self, CopyError};
use crate::bundle::{self, BundleError, Choice, Stamp};
use crate::workspace::Workspace;

/// Why the modules are not the same.
#[derive(Debug, thiserror::Error)]
pub enum WasmError {
    /// The sources cannot be put elsewhere.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// A build failed.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// What is left of an earlier check is in the way.
    #[error("cannot remove {0}: {1}")]
    Remove(PathBuf, io::Error),
    /// A bundle has no stamp.
    #[error("the bundle in {0} was not written whole")]
    Stamp(PathBuf),
    /// They differ.
    #[error("two builds at other places differ in:\n{}\nThe builds are in {one} and {other}.", .files.join("\n"))]
    Differ {
        /// The files.
        files: Vec<String>,
        /// A bundle.
        one: PathBuf,
        /// The other bundle.
        other: PathBuf,
    },
}

/// Builds the bundle here and from a copy of the sources, both from nothing, and prints the digests.
///
/// # Errors
/// If a build fails, or a file differs.
pub(super) fn check(workspace: &Workspace) -> Result<(), WasmError> {
    let folder = workspace.target.join("check/wasm");
    let here = Workspace { target: folder.join("one"), ..workspace.clone() };
    let elsewhere = copy::workspace(workspace, &folder.join("a-folder-with-a-longer-name/copy"))?;
    let (one, other) = (build(&here, &folder.join("dist"))?, build(&elsewhere, &elsewhere.bundle())?);
    let files = differing(&one.files, &other.files);
    if !files.is_empty() {
        return Err(WasmError::Differ { files, one: folder.join("dist"), other: elsewhere.bundle() });
    }
    eprintln!("Two builds of the page have the same bytes. By {}, of the inputs {}:", one.compiler, one.inputs);
    for (name, digest) in one.files.iter().filter(|(name, _)| name.ends_with(".wasm")) {
        eprintln!("{digest}  {name}");
    }
    Ok(())
}

fn build(workspace: &Workspace, out: &Path) -> Result<Stamp, WasmError> {
    for folder in [&workspace.target, out] {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(WasmError::Remove(folder.to_owned(), error));
            }
            _ => {}
        }
    }
    bundle::build(workspace, out, Choice::Auto)?;
    Stamp::read(out).ok_or_else(|| WasmError::Stamp(out.to_owned()))
}

/// The names of the files that are not the same in both, or not there in one.
fn differing(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> Vec<String> {
    let mut names: Vec<&String> =
        one.keys().chain(other.keys()).filter(|name| one.get(*name) != other.get(*name)).collect();
    names.sort();
    names.dedup();
    names.into_iter().map(|name| format!("  {name}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_differ_or_are_missing_are_named() {
        let files =
            |list: &[(&str, &str)]| list.iter().map(|(name, digest)| (name.to_string(), digest.to_string())).collect();
        let one: BTreeMap<String, String> = files(&[("a", "1"), ("b", "2"), ("c", "3")]);
        assert!(differing(&one, &one).is_empty());
        assert_eq!(differing(&one, &files(&[("a", "1"), ("b", "9"), ("d", "4")])), ["  b", "  c", "  d"]);
    }
}
