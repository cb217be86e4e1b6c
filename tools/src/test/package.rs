//! The npm package, tested as its users have it: installed into a project from its tarball.

use std::process::Command;

use super::{Browser, TestError, in_browsers, node_tests};
use crate::fetch;
use crate::npm;
use crate::workspace::Workspace;

/// Makes the package, and the command that tests it.
///
/// # Errors
/// If the package cannot be made, or what the tests need is not to be had.
pub(super) fn tests(workspace: &Workspace, browsers: &[Browser]) -> Result<Command, TestError> {
    let mut command = node_tests(workspace, "package")?;
    let model = fetch::test_model()?;
    let package = npm::build(workspace, &workspace.target.join("npm-test"))?;
    in_browsers(&mut command, workspace, browsers, &model)?;
    command.env("LOCKSTEP_PACKAGE_FOLDER", package.folder).env("LOCKSTEP_PACKAGE_TARBALL", package.tarball);
    Ok(command)
}
