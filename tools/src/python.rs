//! Python with pip, in a virtual environment.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::packages::{self, Need, PackageError};
use crate::process::{self, ProcessError};

/// Why there is no virtual environment.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    /// The package that makes one is missing.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// Python could not make it.
    #[error("Python could not make a virtual environment: {0}")]
    Environment(#[from] ProcessError),
}

/// Whether this Python can call pip.
pub fn has_pip(python: &Path) -> bool {
    process::capture(Command::new(python).args(["-m", "pip", "--version"])).is_ok()
}

/// Makes a virtual environment in the folder `venv`, anew, and returns its Python, which has pip; `why` is what pip is for.
///
/// # Errors
/// If it cannot be made, and the package that it takes cannot be installed.
pub fn environment(venv: &Path, why: &'static str) -> Result<PathBuf, PythonError> {
    let inside = venv.join("bin/python3");
    let make = || process::capture(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv));
    if make().is_err() || !has_pip(&inside) {
        packages::ensure(&[Need { package: "python3-venv".to_owned(), why, present: false }])?;
        make()?;
    }
    Ok(inside)
}
