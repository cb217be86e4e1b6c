//! From a model folder to a model that can compute.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use bpe::{Tokenizer, TokenizerError};
use kernel::model::Model;
use kernel::transcript::{Identity, Sha256Digest};
use loader::digest::sha256;
use loader::{Access, Checkpoint, CheckpointError};
use serde_json::{Map, Value};
use session::ModelError;
use session::adapter::{AdapterError, CONFIG_FILE, MODEL_FILE, adapter_digest, attach};

/// What fetches a complete model folder.
pub const FETCH: &str = "cargo run --release -p tools -- fetch-model";

/// A model folder, opened and validated.
pub struct Opened {
    /// The folder's own name, under which the model is known.
    pub name: String,
    /// The folder.
    pub dir: PathBuf,
    /// The model; its weights are views of `checkpoint`.
    pub model: Arc<Model>,
    /// The digest of the model's adapter, where it has one.
    pub adapter: Option<Sha256Digest>,
    /// The tokenizer.
    pub tokenizer: Arc<Tokenizer>,
    /// SHA-256 of `tokenizer.json`.
    pub tokenizer_sha256: Sha256Digest,
    /// The weight files.
    pub checkpoint: Arc<Checkpoint>,
    /// `provenance.json`, where there is one: where the weights come from, as the tool that fetched them says.
    pub provenance: Option<Value>,
}

/// Why a model folder could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// There is no such folder.
    Missing(PathBuf),
    /// A file could not be read.
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A file is not the JSON object that it should be.
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// `tokenizer.json` describes no tokenizer that we can run.
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: TokenizerError,
    },
    /// The weight files are not what they should be.
    Checkpoint {
        /// The folder.
        dir: PathBuf,
        /// What is wrong with them.
        error: CheckpointError,
    },
    /// The folder holds no model that we can run.
    Model {
        /// The folder.
        dir: PathBuf,
        /// Why not.
        error: ModelError,
    },
    /// There is no such adapter folder.
    MissingAdapter(PathBuf),
    /// The folder holds no adapter that we can use.
    Adapter {
        /// The folder.
        dir: PathBuf,
        /// Why not.
        error: AdapterError,
    },
    /// There are several adapters where one can be used.
    Adapters,
    /// `--ctx-size` is more than the model can do.
    Context {
        /// The tokens asked for.
        asked: usize,
        /// The model's `max_position_embeddings`.
        limit: usize,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Missing(dir) => write!(
                f,
                "no model folder {}: fetch the model with `{FETCH}`, or name a folder with --model DIR",
                dir.display()
            ),
            OpenError::MissingAdapter(path) => write!(
                f,
                "{} is missing: --adapter takes a folder with {CONFIG_FILE} and {MODEL_FILE}, as PEFT and \
                 `lockstep train --method lora --save DIR` write it",
                path.display()
            ),
            OpenError::Adapter { dir, error } => write!(f, "--adapter {}: {error}", dir.display()),
            OpenError::Read { path, error } if error.kind() == io::ErrorKind::NotFound => write!(
                f,
                "{} is missing: `{FETCH}` fetches a complete model folder, --model DIR names another one",
                path.display()
            ),
            OpenError::Read { path, error } => write!(f, "{} cannot be read: {error}", path.display()),
            OpenError::Json { path, error } => write!(f, "{} is not a JSON object: {error}", path.display()),
            OpenError::Tokenizer { path, error } => write!(f, "{}: {error}", path.display()),
            // These name the folder themselves.
            OpenError::Checkpoint {
                error: error @ (CheckpointError::NotFound { .. } | CheckpointError::Io { .. }),
                ..
            } => error.fmt(f),
            OpenError::Checkpoint { dir, error } => write!(f, "{}: {error}", dir.display()),
            OpenError::Model { dir, error } => write!(f, "{}: {error}", dir.display()),
            OpenError::Adapters => f.write_str(
                "several --adapter are for the receipt of an aggregation; this one is of one adapter at most",
            ),
            OpenError::Context { asked, limit } => {
                write!(f, "--ctx-size {asked} is more than the {limit} tokens of this model's max_position_embeddings")
            }
        }
    }
}

impl std::error::Error for OpenError {}

/// Opens the model folder `dir`; `ctx_size` is the most tokens that a sequence may have, if fewer than the model's own.
///
/// The weight files' headers are validated; their digest is not computed here (see [`Opened::weights_digest`]).
///
/// # Errors
/// If a file is missing or is not what it should be; the message names it.
pub fn open(dir: &Path, access: Access, ctx_size: Option<usize>) -> Result<Opened, OpenError> {
    let dir = folder(dir)?;
    let refused = |error| OpenError::Model { dir: dir.clone(), error };
    let mut config = session::config(&read(&dir.join("config.json"))?).map_err(refused)?;
    if let Some(asked) = ctx_size {
        let limit = config.context;
        if asked > limit {
            return Err(OpenError::Context { asked, limit });
        }
        config.context = asked;
    }
    let (tokenizer, tokenizer_sha256) = tokenizer(&dir)?;
    let checkpoint =
        Checkpoint::open(&dir, access).map_err(|error| OpenError::Checkpoint { dir: dir.clone(), error })?;
    let model = session::model(config, &checkpoint).map_err(refused)?;
    let provenance = dir.join("provenance.json");
    let provenance = if provenance.exists() { Some(Value::Object(object(&provenance)?)) } else { None };
    Ok(Opened {
        name: name_of(&dir),
        dir,
        model: Arc::new(model),
        adapter: None,
        tokenizer: Arc::new(tokenizer),
        tokenizer_sha256,
        checkpoint: Arc::new(checkpoint),
        provenance,
    })
}

/// The tokenizer of a model folder, and the SHA-256 of its file.
///
/// # Errors
/// If the folder or `tokenizer.json` is missing, or it describes no tokenizer that we can run.
pub fn tokenizer(dir: &Path) -> Result<(Tokenizer, Sha256Digest), OpenError> {
    let path = folder(dir)?.join("tokenizer.json");
    let bytes = read(&path)?;
    let sha256 = sha256(&bytes);
    let tokenizer = Tokenizer::from_json(&bytes).map_err(|error| OpenError::Tokenizer { path, error })?;
    Ok((tokenizer, sha256))
}

impl Opened {
    /// The same with the adapter in the folder `dir`.
    ///
    /// # Errors
    /// If a file is missing, or the adapter is not supported or does not fit the model.
    pub fn with_adapter(self, dir: &Path) -> Result<Opened, OpenError> {
        let model = self.adapted(dir)?;
        Ok(Opened { adapter: adapter_digest(&model), model: Arc::new(model), ..self })
    }

    /// The model with the adapter in the folder `dir`; the weights are shared.
    ///
    /// # Errors
    /// As [`Opened::with_adapter`].
    pub fn adapted(&self, dir: &Path) -> Result<Model, OpenError> {
        let file = |name: &str| {
            let path = dir.join(name);
            if path.exists() { read(&path) } else { Err(OpenError::MissingAdapter(path)) }
        };
        let model = attach(&self.model, &file(CONFIG_FILE)?, file(MODEL_FILE)?);
        model.map_err(|error| OpenError::Adapter { dir: dir.to_path_buf(), error })
    }

    /// What results are computed with, given the weights digest.
    pub fn identity(&self, weights: Sha256Digest) -> Identity {
        Identity { weights, adapter: self.adapter, tokenizer: self.tokenizer_sha256 }
    }

    /// Hashes the weights, on a thread of its own: beside the computation.
    pub fn weights_digest(&self) -> Hashing {
        let checkpoint = self.checkpoint.clone();
        Hashing(std::thread::spawn(move || checkpoint.digest()))
    }

    /// The bytes of `tokenizer_config.json`, which has the chat template; not every model has one.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn tokenizer_config(&self) -> Result<Option<Vec<u8>>, OpenError> {
        read_if_there(&self.dir.join("tokenizer_config.json"))
    }
}

/// Weights that are being hashed.
pub struct Hashing(JoinHandle<Sha256Digest>);

impl Hashing {
    /// Their digest, once it is there.
    ///
    /// # Errors
    /// If the thread that hashes them has ended without it.
    pub fn finish(self) -> Result<Sha256Digest, HashError> {
        self.0.join().map_err(|_| HashError)
    }
}

/// The weights have no digest.
#[derive(Debug, Clone, Copy)]
pub struct HashError;

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the weights could not be hashed")
    }
}

impl std::error::Error for HashError {}

/// The bytes of a file, where there is one.
fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, OpenError> {
    if path.exists() { read(path).map(Some) } else { Ok(None) }
}

/// The name of a model folder: its last component, also where the path is `.` or ends in `..`.
pub fn name_of(dir: &Path) -> String {
    let full = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    full.file_name().map_or_else(|| "model".to_string(), |name| name.to_string_lossy().into_owned())
}

fn folder(dir: &Path) -> Result<PathBuf, OpenError> {
    if dir.is_dir() { Ok(dir.to_path_buf()) } else { Err(OpenError::Missing(dir.to_path_buf())) }
}

fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path).map_err(|error| OpenError::Read { path: path.to_path_buf(), error })
}

fn object(path: &Path) -> Result<Map<String, Value>, OpenError> {
    let bytes = read(path)?;
    serde_json::from_slice(&bytes).map_err(|error| OpenError::Json { path: path.to_path_buf(), error })
}
