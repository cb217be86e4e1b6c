//! `tools soak`: the soak of `host/tests/soak.rs`, with the real model and for as long as asked.

use std::path::PathBuf;

use crate::fetch::{self, FetchError};
use crate::process::{self, ProcessError};
use crate::workspace::{self, Workspace, WorkspaceError};

/// The command line of `soak`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// How long.
    #[arg(long, default_value_t = 30)]
    pub minutes: u64,
    /// The model folder [default: the one that the tests use].
    #[arg(long, value_name = "DIR")]
    pub model: Option<PathBuf>,
}

/// Why the soak did not pass.
#[derive(Debug, thiserror::Error)]
pub enum SoakError {
    /// The repository was not found.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The model is not there.
    #[error(transparent)]
    Model(#[from] FetchError),
    /// The folder has no name.
    #[error("--model: {0}")]
    Folder(#[from] std::io::Error),
    /// It failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// Runs the soak. All of its load goes to a server of its own on this machine.
///
/// # Errors
/// If an answer was another one than alone, or memory grew.
pub fn run(options: &Options) -> Result<(), SoakError> {
    let workspace = Workspace::find()?;
    let tests = fetch::test_model()?;
    let model = options.model.as_ref().map_or(Ok(tests.clone()), std::path::absolute)?;
    let mut cargo = workspace::cargo();
    cargo.current_dir(&workspace.root).args([
        "test",
        "--locked",
        "-p",
        "host",
        "--test",
        "main",
        "soak",
        "--",
        "--nocapture",
    ]);
    cargo.env("LOCKSTEP_TEST_MODEL", &tests).env("LOCKSTEP_SOAK_MODEL", model);
    cargo.env("LOCKSTEP_SOAK_SECONDS", (options.minutes * 60).to_string());
    Ok(process::run(&mut cargo)?)
}
