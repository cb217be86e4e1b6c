//! The repository's files in another place: what git knows and what it does not ignore, as they are now.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use crate::file::{FileError, at};
use crate::process::{self, ProcessError};
use crate::workspace::Workspace;

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Git does not tell the files.
    #[error("the files of the repository are those that git knows: {0}")]
    Git(#[from] ProcessError),
    /// A file cannot be copied.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Copies the files to the folder `root`, which is emptied before, and returns the workspace there, with a target folder of its own.
///
/// # Errors
/// If git does not answer, or a file cannot be copied.
pub(super) fn workspace(workspace: &Workspace, root: &Path) -> Result<Workspace, CopyError> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(&workspace.root);
    let names = process::capture(&mut git)?;
    match fs::remove_dir_all(root) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(root)(error).into()),
        _ => {}
    }
    for name in names.split_terminator('\0') {
        let (from, to) = (workspace.root.join(name), root.join(name));
        // Git knows files that were removed, too.
        if from.is_file() {
            let folder = to.parent().unwrap_or(root);
            fs::create_dir_all(folder).map_err(at(folder))?;
            fs::copy(&from, &to).map_err(at(&from))?;
        }
    }
    Ok(Workspace { root: root.to_owned(), target: root.join("target"), ..workspace.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_ignores_is_not_copied_and_what_was_there_is_gone() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = to.path().join("copy");
        for (folder, name, text) in [
            (from.path(), ".gitignore", "dist\n"),
            (from.path(), "deep/new", "x"),
            (from.path(), "dist/x", ""),
            (&root, "old", ""),
        ] {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        process::capture(Command::new("git").args(["init", "--quiet"]).current_dir(&from)).unwrap();
        let source = Workspace {
            root: from.path().into(),
            target: "t".into(),
            version: "1.0.0".into(),
            rust_version: "1.89".into(),
        };
        let copy = workspace(&source, &root).unwrap();
        assert_eq!((copy.root.clone(), copy.target), (root.clone(), root.join("target")));
        let files = crate::bundle::walk(&root, &[]).unwrap();
        assert_eq!(files, [root.join(".gitignore"), root.join("deep/new")]);
        assert_eq!(fs::read_to_string(&files[1]).unwrap(), "x");
    }
}
