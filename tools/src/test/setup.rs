//! What the tests need: Rust's components, Node and its packages, the browsers.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Browser, TestError};
use crate::file::at;
use crate::packages::{self, Need};
use crate::process;
use crate::python;
use crate::workspace;

/// The numpy that the second implementation of the contract is run with.
const NUMPY: &str = "2.4.6";

/// rustfmt and clippy.
pub(crate) fn rust_components() -> Result<(), TestError> {
    let missing: Vec<&str> = [("fmt", "rustfmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(command, _)| process::capture(workspace::cargo().args([command, "--version"])).is_err())
        .map(|(_, component)| component)
        .collect();
    if !missing.is_empty() {
        eprintln!("Adding to the Rust toolchain what checks format and lints: {}.", missing.join(", "));
        process::run(Command::new("rustup").args(["component", "add"]).args(missing))?;
    }
    Ok(())
}

/// Node, which runs the page's tests, and npm.
pub(super) fn node() -> Result<(), TestError> {
    packages::ensure(&[
        Need::program(&["node"], "nodejs", "runs the tests of the page"),
        Need::program(&["npm"], "npm", "installs the library that drives the browsers"),
    ])?;
    Ok(())
}

/// The packages of `package-lock.json`, as pinned there; their install scripts do not run.
pub(super) fn node_packages(tests: &Path) -> Result<(), TestError> {
    let lock = tests.join("package-lock.json");
    let wanted = std::fs::read(&lock).map_err(at(&lock))?;
    // Written after a whole installation, with the lock file that it followed.
    let done = tests.join("node_modules/.installed-package-lock.json");
    if std::fs::read(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    eprintln!("Installing the library that drives the browsers, as pinned in browser/tests/package-lock.json.");
    process::run(Command::new("npm").args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(tests))?;
    Ok(std::fs::write(&done, wanted).map_err(at(&done))?)
}

/// numpy, in a virtual environment inside the target folder; returns the Python that has it.
pub(super) fn numpy(target: &Path) -> Result<PathBuf, TestError> {
    Ok(python::with_package(&target.join("numpy-venv"), "numpy", NUMPY, "docs/reference.py computes with it")?)
}

/// The clients that the server is tested with, as pinned in `requirements.txt`, in a virtual environment inside the target folder;
/// returns the Python that has them.
pub(super) fn clients(target: &Path, tests: &Path) -> Result<PathBuf, TestError> {
    packages::ensure(&[Need::program(&["curl"], "curl", "runs the examples of docs/http-api.md")])?;
    let why = "OpenAI's client, LangChain, llm and lm-evaluation-harness, which take a gigabyte";
    Ok(python::with_requirements(&target.join("clients-venv"), &tests.join("requirements.txt"), why)?)
}

/// The browsers, for WebKit a display and a message bus, and what the examples of the README call.
pub(super) fn browsers(browsers: &[Browser]) -> Result<(), TestError> {
    let mut needs: Vec<Need> = browsers.iter().flat_map(|&browser| needs(browser)).collect();
    needs.push(Need::program(&["curl"], "curl", "runs the README's examples"));
    packages::ensure(&needs)?;
    Ok(())
}

fn needs(browser: Browser) -> Vec<Need> {
    match browser {
        Browser::Chromium => vec![Need::program(
            &["chromium", "chromium-browser", "google-chrome"],
            "chromium",
            "a browser that the page must work in",
        )],
        Browser::Firefox => {
            vec![Need::program(&["firefox-esr", "firefox"], "firefox-esr", "a browser that the page must work in")]
        }
        Browser::Webkit => vec![
            Need::program(
                &["WebKitWebDriver"],
                "webkit2gtk-driver",
                "WebKit, Safari's engine, that the page must work in",
            ),
            Need::program(&["xvfb-run"], "xvfb", "a display for WebKit"),
            Need::program(&["xauth"], "xauth", "the key to that display"),
            Need::program(&["dbus-run-session"], "dbus", "a message bus for WebKit"),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installed_node_packages_are_not_installed_again() {
        let tests = tempfile::tempdir().unwrap();
        std::fs::write(tests.path().join("package-lock.json"), "lock").unwrap();
        std::fs::create_dir(tests.path().join("node_modules")).unwrap();
        std::fs::write(tests.path().join("node_modules/.installed-package-lock.json"), "lock").unwrap();
        assert!(node_packages(tests.path()).is_ok());
    }

    #[test]
    fn a_missing_lock_file_is_named() {
        let tests = tempfile::tempdir().unwrap();
        let error = node_packages(tests.path()).unwrap_err().to_string();
        assert!(error.contains("package-lock.json"), "{error}");
    }
}
