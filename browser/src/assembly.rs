//! A model that arrives file by file, in chunks of any size, and is checked while it arrives.
//!
//! The bytes are written once, to the place where the model will read them. Weights are compared with the manifest tensor by
//! tensor, as each is complete, and in the end by the weights digest; every other file by its own hash. So every byte is
//! hashed once.

use std::{error, fmt};

use loader::digest::{Sha256Digest, hex, weights_digest};
use loader::manifest::{Manifest, ManifestError, ManifestFile};
use loader::{Checkpoint, CheckpointError, SafetensorsError};

use crate::incoming::Incoming;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const INDEX: &str = "model.safetensors.index.json";

/// The files of a manifest, on their way in.
pub struct Assembly {
    manifest: Manifest,
    files: Vec<Incoming>,
}

/// A model whose every byte is as its manifest says.
#[derive(Debug)]
pub struct Assembled {
    /// Name of the model folder.
    pub name: String,
    /// Where the weights came from, and the revision there if it is known.
    pub source: String,
    /// The contents of config.json.
    pub config: Vec<u8>,
    /// The contents of tokenizer.json.
    pub tokenizer: Vec<u8>,
    /// SHA-256 of tokenizer.json.
    pub tokenizer_sha256: Sha256Digest,
    /// The contents of tokenizer_config.json, where the manifest lists it.
    pub tokenizer_config: Option<Vec<u8>>,
    /// The weights.
    pub checkpoint: Checkpoint,
    /// The weights digest, computed from what arrived.
    pub weights_sha256: Sha256Digest,
}

impl Assembly {
    /// Reads the manifest.
    ///
    /// # Errors
    /// If it is malformed, or lacks a file that every model has.
    pub fn new(manifest: &[u8]) -> Result<Assembly, AssemblyError> {
        let manifest = Manifest::from_json(manifest).map_err(AssemblyError::Manifest)?;
        let files: Vec<Incoming> = manifest.files.iter().cloned().map(Incoming::new).collect();
        for file in [CONFIG, TOKENIZER] {
            if manifest.file(file).is_none() {
                return Err(AssemblyError::NotListed { file });
            }
        }
        if !files.iter().any(Incoming::is_weights) {
            return Err(AssemblyError::NotListed { file: "model.safetensors" });
        }
        Ok(Assembly { manifest, files })
    }

    /// The files to bring, in this order; every other method counts them from 0.
    pub fn files(&self) -> impl Iterator<Item = &ManifestFile> {
        self.files.iter().map(Incoming::listed)
    }

    /// Makes room for all files, so that nothing is brought in vain.
    ///
    /// # Errors
    /// If there is not that much memory.
    pub fn allocate(&mut self) -> Result<(), AssemblyError> {
        self.files.iter_mut().try_for_each(Incoming::allocate)
    }

    /// Takes the next `len` bytes of a file, which `fill` puts in place.
    ///
    /// # Errors
    /// If they complete something that is not as the manifest says, or are too many.
    pub fn write(&mut self, file: usize, len: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), AssemblyError> {
        let tensors = &self.manifest.tensors;
        let incoming = self.files.get_mut(file).ok_or(AssemblyError::NoSuchFile { file })?;
        incoming.write(len, tensors, fill)
    }

    /// The bytes of a file that have arrived.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn arrived(&self, file: usize) -> Result<&[u8], AssemblyError> {
        Ok(self.files.get(file).ok_or(AssemblyError::NoSuchFile { file })?.arrived())
    }

    /// Number of bytes of a file that have arrived; 0 if there is no such file.
    pub fn filled(&self, file: usize) -> usize {
        self.files.get(file).map_or(0, Incoming::filled)
    }

    /// Forgets what has arrived of a file, to bring it again.
    pub fn restart(&mut self, file: usize) {
        if let Some(incoming) = self.files.get_mut(file) {
            incoming.restart();
        }
    }

    /// The model, when all files are there. Copies no weights.
    ///
    /// # Errors
    /// If bytes are missing, files and index disagree, or the weights digest is not the manifest's.
    pub fn finish(self) -> Result<Assembled, AssemblyError> {
        let Manifest { name, source, revision, weights_sha256: expected, .. } = self.manifest;
        let (mut config, mut tokenizer) = (Vec::new(), Vec::new());
        let (mut tokenizer_config, mut index) = (None, None);
        let mut tokenizer_sha256 = Sha256Digest::default();
        let (mut parts, mut tensors) = (Vec::new(), Vec::new());
        for file in self.files {
            match file.listed().name.as_str() {
                CONFIG => config = file.into_bytes()?,
                TOKENIZER => {
                    tokenizer_sha256 = file.listed().sha256;
                    tokenizer = file.into_bytes()?;
                }
                TOKENIZER_CONFIG => tokenizer_config = Some(file.into_bytes()?),
                INDEX => index = Some(file.into_bytes()?),
                _ if file.is_weights() => {
                    let (part, digests) = file.into_part()?;
                    parts.push(part);
                    tensors.extend(digests);
                }
                _ => drop(file.into_bytes()?),
            }
        }
        let checkpoint = Checkpoint::from_parts(parts, index.as_deref()).map_err(AssemblyError::Checkpoint)?;
        let weights_sha256 = weights_digest(tensors);
        if weights_sha256 != expected {
            return Err(AssemblyError::WeightsDigest { expected: hex(&expected), found: hex(&weights_sha256) });
        }
        let source = [Some(source), revision].into_iter().flatten().collect::<Vec<String>>().join(" ");
        Ok(Assembled {
            name,
            source,
            config,
            tokenizer,
            tokenizer_sha256,
            tokenizer_config,
            checkpoint,
            weights_sha256,
        })
    }
}

/// Why a model cannot be put together, with the file and the tensor.
#[derive(Debug)]
#[non_exhaustive]
pub enum AssemblyError {
    /// The manifest cannot be read.
    Manifest(ManifestError),
    /// The manifest does not list a file that every model has.
    NotListed {
        /// The file.
        file: &'static str,
    },
    /// A file was asked for by a number that none has.
    NoSuchFile {
        /// The number.
        file: usize,
    },
    /// There is no memory for a file.
    NoRoom {
        /// The file.
        file: String,
        /// Its bytes.
        size: u64,
    },
    /// More bytes arrive than the manifest tells.
    TooLong {
        /// The file.
        file: String,
        /// Bytes in the manifest.
        size: u64,
    },
    /// Bytes are missing.
    Incomplete {
        /// The file.
        file: String,
        /// Bytes that are there.
        arrived: u64,
        /// Bytes in the manifest.
        size: u64,
    },
    /// A file was taken for weights and is not.
    NotWeights {
        /// The file.
        file: String,
    },
    /// A file is not what the manifest says.
    FileHash {
        /// The file.
        file: String,
        /// SHA-256 in the manifest.
        expected: String,
        /// SHA-256 of what arrived.
        found: String,
    },
    /// A weight file's header is wrong.
    Safetensors {
        /// The file.
        file: String,
        /// What is wrong.
        error: SafetensorsError,
    },
    /// A tensor is not what the manifest says.
    TensorHash {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// SHA-256 in the manifest.
        expected: String,
        /// SHA-256 of what arrived.
        found: String,
    },
    /// A weight file holds a tensor that the manifest does not know.
    UnknownTensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
    },
    /// The files are right one by one and do not belong together.
    Checkpoint(CheckpointError),
    /// All tensors are right, and the manifest's weights digest is another.
    WeightsDigest {
        /// Digest in the manifest.
        expected: String,
        /// Digest of what arrived.
        found: String,
    },
}

impl fmt::Display for AssemblyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use AssemblyError::*;
        const REMEDY: &str = "the server's files are damaged or do not belong together; fetch the model again there";
        match self {
            Manifest(error) => error.fmt(f),
            NotListed { file } => write!(f, "manifest.json does not list {file}"),
            NoSuchFile { file } => write!(f, "the manifest has no file number {file}"),
            NoRoom { file, size } => {
                write!(f, "the browser has no memory for {file} ({size} bytes); close other tabs and load again")
            }
            TooLong { file, size } => {
                write!(f, "{file}: more bytes arrive than the {size} that manifest.json tells; {REMEDY}")
            }
            Incomplete { file, arrived, size } => write!(f, "{file}: only {arrived} of {size} bytes are there"),
            NotWeights { file } => write!(f, "{file} has no safetensors header"),
            FileHash { file, expected, found } => {
                write!(f, "{file} has SHA-256 {found}, manifest.json says {expected}; {REMEDY}")
            }
            Safetensors { file, error } => write!(f, "{file}: {error}; {REMEDY}"),
            TensorHash { file, tensor, expected, found } => {
                write!(f, "{file}: tensor {tensor} has SHA-256 {found}, manifest.json says {expected}; {REMEDY}")
            }
            UnknownTensor { file, tensor } => {
                write!(f, "{file} holds tensor {tensor}, which manifest.json does not list; {REMEDY}")
            }
            Checkpoint(error) => write!(f, "{error}; {REMEDY}"),
            WeightsDigest { expected, found } => {
                write!(f, "the weights have the digest {found}, manifest.json says {expected}; {REMEDY}")
            }
        }
    }
}

impl error::Error for AssemblyError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            AssemblyError::Manifest(error) => Some(error),
            AssemblyError::Safetensors { error, .. } => Some(error),
            AssemblyError::Checkpoint(error) => Some(error),
            _ => None,
        }
    }
}
