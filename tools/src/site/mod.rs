//! `tools site`: the page as a static site, with its own weights and a recorded native run.
//!
//! The site has the layout of the server's addresses, so that the page finds everything at the same relative places:
//! `web/` is the page, `models/<name>/` the model folder, and `index.html` leads to `web/`.

mod recording;
mod shards;

use std::path::{Path, PathBuf};

use crate::bundle::{self, BundleError, Choice, FolderError, Replacement};
use crate::fetch::{self, FetchError};
use crate::file::{self, FileError, at};
use crate::process::ProcessError;
use crate::start;
use crate::workspace::{Workspace, WorkspaceError};
use loader::manifest::ManifestError;
use loader::{CheckpointError, WriteError};

/// Where the page finds the model: also the file by which a site of ours is known.
const ABOUT: &str = "web/site.json";
/// The recorded native runs.
const RECORDED: &str = "web/recorded.json";

/// The command line of `site`.
#[derive(clap::Args, Debug, Clone)]
pub struct Options {
    /// The folder to make; one that this command made before is replaced.
    #[arg(long)]
    pub out: PathBuf,
    /// The model folder [default: the one of `fetch-model`, which is fetched if needed].
    #[arg(long, env = "LOCKSTEP_MODEL")]
    pub model: Option<PathBuf>,
}

/// Why there is no site.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The repository was not found.
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    /// The model is not there.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The page is not there.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The folder is somebody else's, or cannot be replaced.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The server does not build, or its run failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A JSON file or answer is not what it should be.
    #[error("{what} is not what it should be: {reason}")]
    Json {
        /// The file, or the command that wrote it.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// The model folder's manifest is malformed.
    #[error("{0}; `cargo run --release -p tools -- fetch-model` makes a model folder with a manifest")]
    Manifest(#[from] ManifestError),
    /// The weights cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A shard cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A tensor alone is larger than a shard may be.
    #[error("tensor {name} has {bytes} bytes, more than fit into a file of {limit} bytes", limit = shards::LIMIT)]
    TensorTooLarge {
        /// The tensor.
        name: String,
        /// Its size.
        bytes: u64,
    },
    /// The weights are not those of the manifest.
    #[error(
        "the weights in {folder} have the digest {found}, and its manifest.json says {expected}: the folder is damaged; fetch the model again"
    )]
    Digest {
        /// The model folder.
        folder: PathBuf,
        /// The digest of the weights.
        found: String,
        /// The digest in the manifest.
        expected: String,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Makes the site.
///
/// # Errors
/// If the folder is somebody else's, or a part cannot be made; the folder is then as it was.
pub fn run(options: &Options) -> Result<(), SiteError> {
    let workspace = Workspace::find()?;
    let out = std::path::absolute(&options.out).map_err(at(&options.out))?;
    let model = match &options.model {
        Some(model) => model.clone(),
        None => {
            fetch::run(&fetch::Options::automatic())?;
            workspace.model()
        }
    };
    build(&workspace, &model, &out)?;
    eprintln!(
        "The site is in {}. Any web server can serve it, such as `python3 -m http.server --directory {0}`.",
        out.display()
    );
    Ok(())
}

/// Makes the site for the model in the folder `model`.
///
/// # Errors
/// As [`run`].
pub fn build(workspace: &Workspace, model: &Path, out: &Path) -> Result<(), SiteError> {
    let site = Replacement::of(out, ABOUT)?;
    bundle::build(workspace, &workspace.bundle(), Choice::Auto)?;
    start::build_server(workspace)?;
    bundle::copy_tree(&workspace.bundle(), &site.path().join("web"))?;
    file::write(&site.path().join("index.html"), include_str!("index.html"))?;
    eprintln!("Writing the weights in files of less than {} MB.", shards::LIMIT / 1_000_000);
    let models = site.path().join("models");
    let name = shards::write_model(model, &models)?;
    eprintln!("Recording native runs.");
    let runs = recording::record(workspace, &models.join(&name), site.path())?;
    let about = serde_json::json!({ "modelUrl": format!("../models/{}/", escaped(&name)) });
    file::write(&site.path().join(ABOUT), &format!("{about:#}\n"))?;
    file::write(&site.path().join(RECORDED), &runs)?;
    Ok(site.finish()?)
}

/// A folder's name as part of an address.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_become_parts_of_an_address() {
        assert_eq!(escaped("SmolLM2-135M-Instruct"), "SmolLM2-135M-Instruct");
        assert_eq!(escaped("my model #2/é"), "my%20model%20%232%2F%C3%A9");
    }
}
