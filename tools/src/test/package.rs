//! The npm package, tested as its users have it: installed into a project from its tarball.

use std::process::Command;

use super::{Browser, TestError, in_browsers, node_tests};
use crate::fetch;
use crate::npm;
use crate::workspace::Workspace;

/// The browsers whose reports on workers that break a page's policy the tests read. The page itself is tested in all.
const BROWSERS: [Browser; 2] = [Browser::Chromium, Browser::Firefox];

/// Makes the package, and the command that tests it in those of its browsers that are asked for.
///
/// # Errors
/// If the package cannot be made, or what the tests need is not to be had.
pub(super) fn tests(workspace: &Workspace, browsers: &[Browser]) -> Result<Vec<Command>, TestError> {
    let browsers: Vec<Browser> = BROWSERS.into_iter().filter(|browser| browsers.contains(browser)).collect();
    if browsers.is_empty() {
        eprintln!("The npm package is tested in Chromium and Firefox, of which none was asked for.");
        return Ok(vec![]);
    }
    let mut command = node_tests(workspace, "package")?;
    let model = fetch::test_model()?;
    let package = npm::build(workspace, &workspace.target.join("npm-test"))?;
    in_browsers(&mut command, workspace, &browsers, &model)?;
    command.env("LOCKSTEP_PACKAGE_FOLDER", package.folder).env("LOCKSTEP_PACKAGE_TARBALL", package.tarball);
    Ok(vec![command])
}
