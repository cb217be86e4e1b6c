//! Installs what a command needs from Debian's packages: says what and why, and only does it as root.

use std::process::Command;

use crate::process::{self, ProcessError};

/// Something that a command needs, and the Debian package that brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The Debian package.
    pub package: String,
    /// What it is needed for, in a few words.
    pub why: &'static str,
    /// Whether it is here already.
    pub present: bool,
}

impl Need {
    /// A need that one of these programs on the PATH satisfies.
    pub fn program(names: &[&str], package: &str, why: &'static str) -> Need {
        Need { package: package.to_owned(), why, present: process::find(names).is_some() }
    }
}

/// Why a package is not there.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// We are not root, and never call sudo.
    #[error(
        "these packages are missing:\n{list}This command does not ask for more rights. Run this line as root, then call it again:\n  {line}"
    )]
    NotRoot {
        /// One line for each package.
        list: String,
        /// The line to run.
        line: String,
    },
    /// No apt-get: another system than Debian or one made from it.
    #[error(
        "these are missing (the names are Debian's packages):\n{list}There is no apt-get on this system: install their equivalents, with their programs on the PATH, then call this command again"
    )]
    NotDebian {
        /// One line for each package.
        list: String,
    },
    /// apt-get failed.
    #[error("the packages {0} could not be installed: {1}")]
    Install(String, #[source] ProcessError),
}

/// Installs the packages of the needs that are not present.
///
/// # Errors
/// Without root rights or without apt-get: the packages, the reasons and the line to run. Else if apt-get fails.
pub fn ensure(needs: &[Need]) -> Result<(), PackageError> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !need.present).collect();
    if missing.is_empty() {
        return Ok(());
    }
    may_install(&missing, process::find(&["apt-get"]).is_some(), is_root())?;
    eprint!("Installing from the distribution:\n{}", list(&missing));
    install(&missing).map_err(|error| PackageError::Install(names(&missing).join(" "), error))
}

fn may_install(missing: &[&Need], apt: bool, root: bool) -> Result<(), PackageError> {
    let list = list(missing);
    match (apt, root) {
        (true, true) => Ok(()),
        (true, false) => {
            let line =
                format!("apt-get update && apt-get install --no-install-recommends --yes {}", names(missing).join(" "));
            Err(PackageError::NotRoot { list, line })
        }
        (false, _) => Err(PackageError::NotDebian { list }),
    }
}

fn install(missing: &[&Need]) -> Result<(), ProcessError> {
    let apt_get = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    process::run(apt_get().args(["update", "--quiet"]))?;
    process::run(apt_get().args(["install", "--quiet", "--no-install-recommends", "--yes"]).args(names(missing)))
}

fn names<'a>(missing: &[&'a Need]) -> Vec<&'a str> {
    let mut names: Vec<&str> = missing.iter().map(|need| need.package.as_str()).collect();
    names.dedup();
    names
}

fn list(missing: &[&Need]) -> String {
    missing.iter().map(|need| format!("  {}: {}\n", need.package, need.why)).collect()
}

fn is_root() -> bool {
    process::capture(Command::new("id").arg("-u")).is_ok_and(|id| id == "0")
}

/// The installed version of a Debian package, if it is installed.
pub fn version(package: &str) -> Option<String> {
    let answer =
        process::capture(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status} ${Version}", package])).ok()?;
    answer.strip_prefix("installed ").map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(package: &str) -> Need {
        Need { package: package.to_owned(), why: "to see the light", present: false }
    }

    #[test]
    fn without_root_the_error_has_packages_reasons_and_the_line() {
        let (a, b) = (need("lamp"), need("oil"));
        let error = may_install(&[&a, &b], true, false).unwrap_err().to_string();
        assert!(error.contains("lamp: to see the light"), "{error}");
        assert!(error.ends_with("apt-get update && apt-get install --no-install-recommends --yes lamp oil"), "{error}");
        assert!(!error.contains("sudo"));
    }

    #[test]
    fn without_apt_get_the_error_says_so() {
        let error = may_install(&[&need("lamp")], false, true).unwrap_err().to_string();
        assert!(error.contains("lamp") && error.contains("no apt-get"), "{error}");
    }

    #[test]
    fn root_with_apt_get_may_install() {
        assert!(may_install(&[&need("lamp")], true, true).is_ok());
    }

    #[test]
    fn what_is_present_is_not_installed() {
        assert!(ensure(&[Need { present: true, ..need("no-such-package-of-ours") }]).is_ok());
        assert!(Need::program(&["no-such-program", "sh"], "dash", "to run scripts").present);
    }

    #[test]
    fn an_unknown_package_has_no_version() {
        assert_eq!(version("no-such-package-of-ours"), None);
    }
}
