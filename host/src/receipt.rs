//! Where a receipt is read from and written to, and who signs it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::{error, fmt};

use loader::SafeFile;
use session::receipt::{MAX_BYTES, Receipt, ReceiptError, SecretKey};

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

/// The bytes of the receipt in a file, `-` being stdin, or one more than it may have.
///
/// # Errors
/// If it cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = match path.to_str() {
        Some("-") => bytes(io::stdin().lock()),
        _ => File::open(path).and_then(bytes),
    };
    read.map_err(|error| format!("{} cannot be read: {error}", path.display()).into())
}

/// The bytes of a receipt, or one more than it may have.
///
/// # Errors
/// Those of `source`.
pub fn bytes(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The key of `--sign`, where it is given.
///
/// # Errors
/// If its file cannot be read or holds none.
pub fn key(path: Option<&Path>) -> Result<Option<SecretKey>, IssueError> {
    path.map(read_secret).transpose().map_err(IssueError::Key)
}

/// The receipt, signed where there is a key.
pub fn signed(receipt: Receipt, key: Option<&SecretKey>) -> Receipt {
    match key {
        Some(key) => receipt.sign(key),
        None => receipt,
    }
}

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
        let key = key(sign.as_deref())?;
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
        let written = SafeFile::write(&path, &signed(receipt, key.as_ref()).to_json());
        Ok(written.map_err(|error| IssueError::Io { path, error })?)
    }
}
