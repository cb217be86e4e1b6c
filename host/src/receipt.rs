//! Where a receipt is written, and who signs it.

use std::path::{Path, PathBuf};
use std::{error, fmt, io};

use loader::SafeFile;
use session::receipt::{Receipt, ReceiptError, SecretKey};

use crate::keys::{KeyError, read_secret};
use crate::{Failure, cli};

/// Why no receipt is written.
#[derive(Debug)]
pub enum IssueError {
    /// Flags that say how, and none that says where to.
    NoFile,
    /// The key cannot be used.
    Key(KeyError),
    /// There is no such folder, or a folder stands there.
    Place(PathBuf),
    /// The file cannot be written.
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A receipt cannot hold it.
    Receipt(ReceiptError),
}

impl fmt::Display for IssueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFile => f.write_str("--private and --sign are about a receipt: name its file with --receipt FILE"),
            Self::Key(error) => write!(f, "--sign: {error}"),
            Self::Place(path) => write!(f, "--receipt {}: name a file in a folder that is there", path.display()),
            Self::Io { path, error } => write!(f, "--receipt {}: {error}", path.display()),
            Self::Receipt(error) => write!(f, "--receipt: {error}"),
        }
    }
}

impl error::Error for IssueError {}

/// A receipt to be.
pub struct Issue {
    path: PathBuf,
    key: Option<SecretKey>,
    /// Whether token ids are left out.
    pub private: bool,
}

impl Issue {
    /// What the flags ask for.
    ///
    /// # Errors
    /// If the flags contradict each other, there is no place for the file, or the key cannot be read: all that can be known
    /// before the computation.
    pub fn new(arguments: &cli::Receipting) -> Result<Option<Issue>, IssueError> {
        let cli::Receipting { receipt, private, sign } = arguments;
        let Some(path) = receipt.clone() else {
            return if *private || sign.is_some() { Err(IssueError::NoFile) } else { Ok(None) };
        };
        let key = sign.as_deref().map(read_secret).transpose().map_err(IssueError::Key)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if path.is_dir() || path.file_name().is_none() || !folder.is_dir() {
            return Err(IssueError::Place(path));
        }
        Ok(Some(Issue { path, key, private: *private }))
    }

    /// Writes the receipt: whole, or not at all.
    ///
    /// # Errors
    /// If the system refuses, or a receipt cannot hold the result.
    pub fn write(self, receipt: Result<Receipt, ReceiptError>) -> Result<(), Failure> {
        let Issue { path, key, private: _ } = self;
        let receipt = receipt.map_err(IssueError::Receipt)?;
        let receipt = match &key {
            Some(key) => receipt.sign(key),
            None => receipt,
        };
        let written = SafeFile::write(&path, &receipt.to_json());
        Ok(written.map_err(|error| IssueError::Io { path, error })?)
    }
}
