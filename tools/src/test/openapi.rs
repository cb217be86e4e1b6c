//! The OpenAPI document, tested against a server: schemathesis asks it all that the document describes, and much that it does not.

use std::fs;
use std::process::Command;

use super::TestError;
use super::tiny;
use crate::file::at;
use crate::python;
use crate::served::Served;
use crate::start;
use crate::workspace::Workspace;

/// A server of a tiny model, and the command that asks it.
///
/// # Errors
/// If schemathesis or the server is not to be had.
pub(super) fn requests(workspace: &Workspace) -> Result<(Served, Command), TestError> {
    let files = workspace.root.join("tools/openapi");
    let (settings, list) = (files.join("schemathesis.toml"), files.join("requirements.txt"));
    eprintln!("The OpenAPI document and the server, as {} says.", workspace.short(&settings));
    let folder = workspace.target.join("openapi");
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    let python = python::with_requirements(&folder.join("venv"), &list, "schemathesis asks the server")?;
    start::build_server(workspace)?;
    let model = folder.join("model");
    tiny::write(&model)?;
    let mut serve = Command::new(workspace.lockstep());
    let served = Served::start(serve.args(["serve", "--port", "0", "--log-level", "error", "--model"]).arg(&model))?;
    let mut command = Command::new(python.with_file_name("schemathesis"));
    command.arg("--config-file").arg(settings).args(["run", "--no-color", "--url", &served.origin]);
    // It leaves files in the folder in which it runs.
    command.arg(format!("{}openapi.json", served.origin)).current_dir(&folder);
    Ok((served, command))
}
