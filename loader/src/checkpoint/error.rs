//! The ways in which a model folder can be wrong.

use std::path::PathBuf;
use std::{error, fmt, io};

use crate::SafetensorsError;

/// Why a checkpoint cannot be opened, with the file and the tensor.
#[derive(Debug)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The folder holds neither weights nor an index.
    NotFound {
        /// The folder.
        dir: PathBuf,
    },
    /// The system refused to open or read a file.
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A file is not valid safetensors.
    Safetensors {
        /// The file's name.
        file: String,
        /// What is wrong with it.
        error: SafetensorsError,
    },
    /// A file in memory has another length than its header was checked against.
    Length {
        /// The file's name.
        file: String,
        /// Bytes that the header was checked against.
        expected: usize,
        /// Bytes in memory.
        found: usize,
    },
    /// Several files, or none, were given without an index.
    IndexNeeded {
        /// Number of files.
        files: usize,
    },
    /// The index cannot be read.
    Index {
        /// What is wrong with it.
        reason: String,
    },
    /// The index names a file outside the folder.
    FileName {
        /// The tensor that is said to lie there.
        tensor: String,
        /// The file.
        file: String,
    },
    /// The same file was given twice.
    FileTwice {
        /// The file.
        file: String,
    },
    /// The index names a tensor that its file does not hold.
    Missing {
        /// The tensor.
        tensor: String,
        /// The file.
        file: String,
    },
    /// A file holds a tensor that the index does not place there.
    Unlisted {
        /// The tensor.
        tensor: String,
        /// The file that holds it.
        file: String,
        /// The file in which the index places it, if it lists it at all.
        listed: Option<String>,
    },
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CheckpointError::*;
        match self {
            NotFound { dir } => write!(
                f,
                "{} holds neither model.safetensors nor model.safetensors.index.json; is it a model folder?",
                dir.display()
            ),
            Io { path, error } => write!(f, "cannot read {}: {error}", path.display()),
            Safetensors { file, error } => write!(f, "{file}: {error}"),
            Length { file, expected, found } => {
                write!(f, "{file}: the header was checked for {expected} bytes, the file in memory has {found}")
            }
            IndexNeeded { files } => {
                write!(f, "{files} weight files were given without an index; without one there must be exactly 1")
            }
            Index { reason } => write!(f, "model.safetensors.index.json: {reason}"),
            FileName { tensor, file } => write!(
                f,
                "model.safetensors.index.json places tensor {tensor:?} in {file:?}, which is not a plain file name"
            ),
            FileTwice { file } => write!(f, "the weight file {file} was given twice"),
            Missing { tensor, file } => {
                write!(f, "model.safetensors.index.json places tensor {tensor:?} in {file}, which does not hold it")
            }
            Unlisted { tensor, file, listed: Some(listed) } => {
                write!(f, "{file} holds tensor {tensor:?}, which model.safetensors.index.json places in {listed}")
            }
            Unlisted { tensor, file, listed: None } => {
                write!(f, "{file} holds tensor {tensor:?}, which model.safetensors.index.json does not list")
            }
        }
    }
}

impl error::Error for CheckpointError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            CheckpointError::Io { error, .. } => Some(error),
            CheckpointError::Safetensors { error, .. } => Some(error),
            _ => None,
        }
    }
}
