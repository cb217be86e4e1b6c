//! What the system says of a file, with its name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file or folder cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot read or write {path}: {source}")]
pub struct FileError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// For `map_err`: that it was this file or folder.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> FileError {
    move |source| FileError { path: path.to_owned(), source }
}

/// Writes a file.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), FileError> {
    fs::write(path, text).map_err(at(path))
}
