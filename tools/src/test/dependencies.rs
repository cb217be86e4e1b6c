//! What the project depends on, checked against `deny.toml` by cargo-deny: licences, bans and sources; advisories where their
//! database can be reached.

use std::path::Path;
use std::process::Command;

use crate::process::{self, ProcessError};
use crate::workspace::Workspace;

/// The cargo-deny that reads `deny.toml`.
const CARGO_DENY: &str = "0.20.2";

/// The manifests of the workspaces: ours, and those of the examples for machines without an operating system.
const WORKSPACES: [&str; 3] = ["Cargo.toml", "kernel/examples/firmware/Cargo.toml", "kernel/examples/wasi/Cargo.toml"];

/// What each workspace is asked; a licence that only another one needs is no fault.
const CHECK: [&str; 3] = ["check", "--allow", "license-exception-not-encountered"];

/// The commands that check every package that any build of the workspaces uses.
///
/// # Errors
/// If cargo-deny cannot be had.
pub fn checks(workspace: &Workspace) -> Result<Vec<Command>, ProcessError> {
    let program = workspace.cargo_program("cargo-deny", CARGO_DENY)?;
    let mut what = vec!["licenses", "bans", "sources"];
    match process::run(&mut cargo_deny(&program, &workspace.root, WORKSPACES[0], &["fetch", "db"])) {
        Ok(()) => what.push("advisories"),
        Err(error) => eprintln!("ADVISORIES ARE NOT CHECKED: their database cannot be reached here ({error})."),
    }
    let arguments = [&CHECK[..], &what].concat();
    Ok(WORKSPACES.iter().map(|manifest| cargo_deny(&program, &workspace.root, manifest, &arguments)).collect())
}

fn cargo_deny(program: &Path, root: &Path, manifest: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(["--locked", "--config", "deny.toml", "--manifest-path", manifest]).args(arguments).current_dir(root);
    command
}
