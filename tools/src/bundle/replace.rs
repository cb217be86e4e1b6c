//! Replaces a whole folder at once: built beside the old one, then renamed into its place.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a folder was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The folder has files that this command did not write.
    #[error(
        "{folder} is not empty and has no {mark}, so it was not made by this command; name another folder, or remove it by hand"
    )]
    Foreign {
        /// The folder.
        folder: PathBuf,
        /// The file that every folder of this command has.
        mark: String,
    },
    /// The folder cannot be read, written or renamed.
    #[error("cannot replace {folder}: {source}")]
    File {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A new folder on its way to take the place of another. Dropped before `finish`, it leaves all as it was.
#[derive(Debug)]
pub struct Replacement {
    folder: PathBuf,
    building: PathBuf,
}

impl Replacement {
    /// Starts a folder that will replace `folder`. The old one must be absent, empty, or have a file named `mark`.
    ///
    /// # Errors
    /// If the old folder is somebody else's, or the new one cannot be made.
    pub fn of(folder: &Path, mark: &str) -> Result<Replacement, FolderError> {
        let failed = |source| FolderError::File { folder: folder.to_owned(), source };
        let foreign = match fs::read_dir(folder) {
            Ok(mut entries) => entries.next().is_some() && !folder.join(mark).is_file(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(error)),
        };
        if foreign {
            return Err(FolderError::Foreign { folder: folder.to_owned(), mark: mark.to_owned() });
        }
        // Beside the old folder, so that both are on one file system and a rename is enough.
        let building = beside(folder, "new");
        fs::create_dir_all(&building).map_err(failed)?;
        Ok(Replacement { folder: folder.to_owned(), building })
    }

    /// The folder to build in.
    pub fn path(&self) -> &Path {
        &self.building
    }

    /// Puts the new folder in the place of the old one.
    ///
    /// # Errors
    /// If it cannot be renamed; the old folder is in its place then.
    pub fn finish(self) -> Result<(), FolderError> {
        let failed = |source| FolderError::File { folder: self.folder.clone(), source };
        let old = beside(&self.folder, "old");
        let had_old = self.folder.exists();
        if had_old {
            fs::rename(&self.folder, &old).map_err(failed)?;
        }
        if let Err(error) = fs::rename(&self.building, &self.folder) {
            if had_old {
                fs::rename(&old, &self.folder).map_err(failed)?;
            }
            return Err(failed(error));
        }
        if had_old {
            fs::remove_dir_all(&old).map_err(failed)?;
        }
        Ok(())
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        // After `finish` it is gone already; a rest that cannot be removed harms nobody.
        let _ = fs::remove_dir_all(&self.building);
    }
}

/// A name beside `folder` that no other process takes.
fn beside(folder: &Path, what: &str) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{name}.{}.{what}", std::process::id()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: &str = "mark";

    fn entries(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_folder_takes_the_place_of_the_old_one_and_nothing_is_left_beside() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("dist");
        for (had, has) in [(vec![], "one"), (vec!["mark", "one"], "two")] {
            assert_eq!(if folder.exists() { entries(&folder) } else { vec![] }, had);
            let replacement = Replacement::of(&folder, MARK).unwrap();
            fs::write(replacement.path().join(has), "").unwrap();
            fs::write(replacement.path().join(MARK), "").unwrap();
            replacement.finish().unwrap();
            assert_eq!(entries(&folder), ["mark", has]);
        }
        assert_eq!(entries(dir.path()), ["dist"]);
    }

    #[test]
    fn a_foreign_folder_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("diary.txt"), "dear").unwrap();
        let error = Replacement::of(dir.path(), MARK).unwrap_err().to_string();
        assert!(error.contains("mark") && error.contains("not made by this command"), "{error}");
        assert_eq!(entries(dir.path()), ["diary.txt"]);
    }

    #[test]
    fn a_build_given_up_leaves_the_old_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("dist");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(MARK), "old").unwrap();
        let replacement = Replacement::of(&folder, MARK).unwrap();
        fs::write(replacement.path().join("half"), "").unwrap();
        drop(replacement);
        assert_eq!(entries(dir.path()), ["dist"]);
        assert_eq!(entries(&folder), [MARK]);
    }

    #[test]
    fn an_empty_folder_may_be_taken() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("dist");
        fs::create_dir(&folder).unwrap();
        assert!(Replacement::of(&folder, MARK).is_ok());
    }
}
