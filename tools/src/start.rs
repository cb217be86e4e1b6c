//! `tools start`: from a fresh clone to the page, in one command.

use std::io;
use std::process::Command;

use crate::bundle::{self, BundleError, Choice};
use crate::fetch::{self, FetchError};
use crate::process::{self, ProcessError};
use crate::workspace::{self, Workspace, WorkspaceError};

/// The command line of `start`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// Options for `lockstep serve`, such as `--port 9000`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "SERVE OPTIONS")]
    pub serve: Vec<String>,
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The repository was not found.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The model is not there.
    #[error(transparent)]
    Model(#[from] FetchError),
    /// The page is not there.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The server does not build.
    #[error("the server does not build: {0}")]
    Build(#[from] ProcessError),
    /// The server did not start.
    #[error("cannot start {program}: {source}")]
    Serve {
        /// The server's binary.
        program: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Fetches the model, builds the page and the server, and becomes the server.
///
/// # Errors
/// If a step fails; else it does not return.
pub fn run(options: &Options) -> Result<(), StartError> {
    let workspace = Workspace::find()?;
    eprintln!("[1/3] The model, in {}.", workspace.short(&workspace.model()));
    fetch::run(&fetch::Options::automatic())?;
    eprintln!("[2/3] The page with its WebAssembly module, in {}.", workspace.short(&workspace.bundle()));
    bundle::build(&workspace, &workspace.bundle(), Choice::Auto)?;
    eprintln!("[3/3] The server.");
    build_server(&workspace)?;
    let mut serve = serve(&workspace, options, |name| std::env::var_os(name).is_some());
    eprintln!("$ {}", process::line(&serve));
    become_program(&mut serve).map_err(|source| StartError::Serve { program: process::line(&serve), source })
}

/// Builds the server's binary, `lockstep`, in the release profile.
///
/// # Errors
/// If cargo fails.
pub fn build_server(workspace: &Workspace) -> Result<(), ProcessError> {
    process::run(
        workspace::cargo().args(["build", "--release", "--locked", "--package", "host"]).current_dir(&workspace.root),
    )
}

/// The server's command line. Model and page are named by environment variables, over which a flag of the user wins.
fn serve(workspace: &Workspace, options: &Options, is_set: impl Fn(&str) -> bool) -> Command {
    let mut command = Command::new(workspace.lockstep());
    for (name, folder) in [("LOCKSTEP_MODEL", workspace.model()), ("LOCKSTEP_WEB_ROOT", workspace.bundle())] {
        if !is_set(name) {
            command.env(name, folder);
        }
    }
    command.arg("serve").args(&options.serve);
    command
}

/// Takes the place of this process, so that signals and the exit code are the server's own. Returns only on failure.
#[cfg(unix)]
fn become_program(command: &mut Command) -> io::Result<()> {
    Err(std::os::unix::process::CommandExt::exec(command))
}

#[cfg(not(unix))]
fn become_program(command: &mut Command) -> io::Result<()> {
    let status = command.status()?;
    std::process::exit(status.code().unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(arguments: &[&str], set: &str) -> String {
        let workspace =
            Workspace { root: "/r".into(), target: "/t".into(), version: "1.0.0".into(), rust_version: "1.88".into() };
        let options = Options { serve: arguments.iter().map(|a| (*a).to_owned()).collect() };
        process::line(&serve(&workspace, &options, |name| name == set))
    }

    #[test]
    fn the_server_gets_model_page_and_the_users_options() {
        let want = "LOCKSTEP_MODEL=/r/models/SmolLM2-135M-Instruct LOCKSTEP_WEB_ROOT=/r/browser/dist /t/release/lockstep serve --port 9000";
        assert_eq!(line(&["--port", "9000"], ""), want);
    }

    #[test]
    fn a_variable_of_the_user_is_left_alone() {
        assert!(!line(&[], "LOCKSTEP_MODEL").contains("LOCKSTEP_MODEL"));
        assert!(line(&[], "LOCKSTEP_MODEL").contains("LOCKSTEP_WEB_ROOT"));
    }
}
