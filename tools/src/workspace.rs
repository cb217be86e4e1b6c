//! Where things stand in this repository, whatever directory a command was called from.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{self, ProcessError};

/// Why the repository was not found.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    /// Cargo does not know the workspace.
    #[error("cannot find the repository; call this command inside of it: {0}")]
    Cargo(#[from] ProcessError),
    /// Cargo's answer lacks a key.
    #[error("`cargo metadata` answered without a usable `{0}`")]
    Answer(&'static str),
    /// Another workspace than ours.
    #[error("{0} is not the Lockstep workspace (it has no tools/Cargo.toml); call this command inside the repository")]
    Foreign(PathBuf),
}

/// The places that the commands work on.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The repository.
    pub root: PathBuf,
    /// Cargo's target directory.
    pub target: PathBuf,
    /// The version of all packages.
    pub version: String,
    /// The oldest compiler that builds us (`rust-version`).
    pub rust_version: String,
}

impl Workspace {
    /// Asks cargo about the workspace around the current directory.
    ///
    /// # Errors
    /// If there is none, or another one.
    pub fn find() -> Result<Workspace, WorkspaceError> {
        let answer = process::capture(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let json: serde_json::Value = serde_json::from_str(&answer).map_err(|_| WorkspaceError::Answer("JSON"))?;
        let text =
            |value: &serde_json::Value, key| value[key].as_str().map(str::to_owned).ok_or(WorkspaceError::Answer(key));
        let root = PathBuf::from(text(&json, "workspace_root")?);
        if !root.join("tools/Cargo.toml").is_file() {
            return Err(WorkspaceError::Foreign(root));
        }
        let target = text(&json, "target_directory")?.into();
        let package = &json["packages"][0];
        let (version, rust_version) = (text(package, "version")?, text(package, "rust_version")?);
        Ok(Workspace { root, target, version, rust_version })
    }

    /// A program from crates.io in just this version, which it tells with `--version`; installed inside the target folder if it is not.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn cargo_program(&self, name: &str, version: &str) -> Result<PathBuf, ProcessError> {
        let folder = self.target.join(name);
        let program = folder.join("bin").join(name);
        if !process::capture(Command::new(&program).arg("--version")).is_ok_and(|told| told.ends_with(version)) {
            // Without optimisation, which would take longer than all that they do here.
            let mut cargo = cargo();
            cargo.args(["install", name, "--locked", "--debug", "--version", version, "--root"]).arg(&folder);
            process::run(&mut cargo)?;
        }
        Ok(program)
    }

    /// The model folder that the commands fill and read.
    pub fn model(&self) -> PathBuf {
        self.root.join("models/SmolLM2-135M-Instruct")
    }

    /// Where the page and its module are built, and where the server looks for them.
    pub fn bundle(&self) -> PathBuf {
        self.root.join("browser/dist")
    }

    /// The server's binary in the release profile.
    pub fn lockstep(&self) -> PathBuf {
        self.target.join("release/lockstep")
    }

    /// `path` as a user would write it: relative to the repository where it is inside.
    pub fn short<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

/// Cargo, the one that runs us where there is one.
pub fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The compiler, the one that is asked for where there is one.
pub fn rustc() -> Command {
    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// The compiler's name of this machine.
///
/// # Errors
/// If the compiler does not answer.
pub fn host() -> Result<String, ProcessError> {
    let answer = process::capture(rustc().arg("-vV"))?;
    Ok(process::field(&answer, "host").unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_found_from_a_folder_inside() {
        // Tests run in the package's directory, not in the root.
        let workspace = Workspace::find().unwrap();
        assert!(workspace.root.join("tools/src/workspace.rs").is_file());
        assert_eq!(workspace.short(&workspace.bundle()).to_string(), "browser/dist");
        assert!(workspace.rust_version.starts_with("1."));
    }

    #[cfg(unix)]
    #[test]
    fn a_program_of_the_wanted_version_is_not_installed_again() {
        use std::os::unix::fs::PermissionsExt;
        let target = tempfile::tempdir().unwrap();
        let program = target.path().join("no-such-crate-of-ours/bin/no-such-crate-of-ours");
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::write(&program, "#!/bin/sh\necho no-such-crate-of-ours 1.2.3\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let workspace = Workspace { target: target.path().to_owned(), ..Workspace::find().unwrap() };
        assert_eq!(workspace.cargo_program("no-such-crate-of-ours", "1.2.3").unwrap(), program);
    }
}
