//! Python with pip, in a virtual environment.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::file::{FileError, at};
use crate::packages::{self, Need, PackageError};
use crate::process::{self, ProcessError};

/// Why there is no virtual environment.
#[derive(Debug, thiserror::Error)]
pub enum PythonError {
    /// The package that makes one is missing.
    #[error(transparent)]
    Packages(#[from] PackageError),
    /// Python could not make it, or pip not install a package there.
    #[error("Python could not make a virtual environment, or pip not fill it: {0}")]
    Environment(#[from] ProcessError),
    /// A list of packages cannot be read, or what was installed not be noted.
    #[error(transparent)]
    File(#[from] FileError),
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

/// A Python that has one package in one version, in the virtual environment in the folder `venv`, which is made where it is
/// not there; `why` is what the package is for.
///
/// # Errors
/// As [`environment`], and if pip cannot install the package.
pub fn with_package(venv: &Path, package: &str, version: &str, why: &'static str) -> Result<PathBuf, PythonError> {
    let python = venv.join("bin/python3");
    let installed = format!("import importlib.metadata as m; print(m.version('{package}'))");
    if process::capture(Command::new(&python).args(["-c", &installed])).is_ok_and(|installed| installed == version) {
        return Ok(python);
    }
    eprintln!("Installing {package} {version} in {}: {why}.", venv.display());
    let python = environment(venv, "a virtual environment of Python")?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--only-binary", ":all:"]);
    process::run(pip.arg(format!("{package}=={version}")))?;
    Ok(python)
}

/// A Python that has the packages of the file `list`, in the virtual environment in the folder `venv`, which is made anew where
/// it has others; `why` is what they are for.
///
/// # Errors
/// As [`environment`], and if pip cannot install a package, or the file cannot be read.
pub fn with_requirements(venv: &Path, list: &Path, why: &'static str) -> Result<PathBuf, PythonError> {
    let wanted = std::fs::read(list).map_err(at(list))?;
    // Written after a whole installation.
    let done = venv.join("installed.txt");
    if std::fs::read(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(venv.join("bin/python3"));
    }
    eprintln!("Installing the packages of {} in {}: {why}.", list.display(), venv.display());
    let python = environment(venv, why)?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--requirement"]);
    process::run(pip.arg(list))?;
    std::fs::write(&done, wanted).map_err(at(&done))?;
    Ok(python)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_package_of_the_wanted_version_is_not_installed_again() {
        let venv = tempfile::tempdir().unwrap();
        let python = venv.path().join("bin/python3");
        std::fs::create_dir_all(venv.path().join("bin")).unwrap();
        std::fs::write(&python, "#!/bin/sh\necho 1.2.3\n").unwrap();
        std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(with_package(venv.path(), "no-such-package-of-ours", "1.2.3", "to test").unwrap(), python);
    }

    #[test]
    fn packages_of_the_same_list_are_not_installed_again() {
        let venv = tempfile::tempdir().unwrap();
        let list = venv.path().join("requirements.txt");
        assert!(with_requirements(venv.path(), &list, "to test").is_err());
        std::fs::write(&list, "no-such-package-of-ours==1").unwrap();
        std::fs::copy(&list, venv.path().join("installed.txt")).unwrap();
        let python = with_requirements(venv.path(), &list, "to test").unwrap();
        assert_eq!(python, venv.path().join("bin/python3"));
    }
}
