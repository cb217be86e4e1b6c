//! The model from the Hugging Face hub, or from what other tools have downloaded from there.

mod client;
mod download;
mod environment;
mod error;
mod part;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

pub use environment::{Environment, Patience};
pub use error::HubError;

use super::FetchError;
use super::folder::{Origin, Staging, is_pinned};
use super::pins::{Pin, Repository};
use client::Client;
use download::{Expected, download};

/// Collects the repository's files in the staging folder and tells their origin.
///
/// With `accept` that revision is taken as it is, checked only against what the hub itself says about it.
///
/// # Errors
/// If the hub gives nothing, or something else than pinned.
pub(super) fn prepare(
    staging: &Staging,
    environment: &Environment,
    repository: &Repository,
    accept: Option<&str>,
) -> Result<Origin, FetchError> {
    let revision = accept.unwrap_or(repository.revision);
    let cache = cache_folder(environment, repository, revision);
    let client = Client::new(environment)?;
    for pin in repository.files {
        let target = staging.path(pin.name);
        let there = match accept {
            Some(_) => cache.as_deref().is_some_and(|cache| take(&cache.join(pin.name), &target)),
            None => is_here(staging, cache.as_deref(), pin),
        };
        if there {
            continue;
        }
        if environment.offline {
            return Err(HubError::Offline { file: pin.name.to_owned() }.into());
        }
        let url = format!("{}/{}/resolve/{revision}/{}", environment.endpoint, repository.name, pin.name);
        let expected = Expected {
            name: pin.name.to_owned(),
            size: accept.is_none().then_some(pin.size),
            sha256: accept.is_none().then(|| pin.sha256.to_owned()),
        };
        download(&client, &environment.patience, &url, expected, &target)?;
    }
    let provenance = json!({
        "source": "hub",
        "endpoint": environment.endpoint,
        "repository": repository.name,
        "revision": revision,
        "pinned": accept.is_none(),
        "tool": concat!("lockstep tools ", env!("CARGO_PKG_VERSION")),
    });
    let files = repository.files.iter().map(|pin| pin.name).collect();
    Ok(Origin { source: "hub", revision: revision.to_owned(), files, provenance })
}

/// The folder in which the hub's own tools keep that revision.
fn cache_folder(environment: &Environment, repository: &Repository, revision: &str) -> Option<PathBuf> {
    let name = format!("models--{}", repository.name.replace('/', "--"));
    Some(environment.cache.as_ref()?.join(name).join("snapshots").join(revision))
}

/// Whether the pinned file is in the staging folder, after looking for it in the model folder and the hub cache.
fn is_here(staging: &Staging, cache: Option<&Path>, pin: &Pin) -> bool {
    let target = staging.path(pin.name);
    let places = [Some(staging.target().join(pin.name)), cache.map(|cache| cache.join(pin.name))];
    is_pinned(&target, pin) || places.iter().flatten().any(|place| is_pinned(place, pin) && take(place, &target))
}

/// Copies a file that is here already; what a copy does not manage is downloaded.
fn take(from: &Path, to: &Path) -> bool {
    from.is_file() && fs::copy(from, to).is_ok()
}
