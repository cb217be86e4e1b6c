//! `manifest.json`: the files of a model folder with sizes and hashes, and the hash of every tensor.
//!
//! `tools fetch-model` and `tools site` write it; the page checks against it what it downloads: small files by their
//! hash, weights tensor by tensor while they arrive, then all of them by the weights digest.

use std::collections::BTreeMap;
use std::{error, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::checkpoint::is_plain_name;
use crate::digest::{self, Sha256Digest};
use crate::entries::Entries;
use crate::object::Object;

/// File name of the manifest in a model folder.
pub const FILE_NAME: &str = "manifest.json";

/// The contents of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the model folder.
    pub name: String,
    /// Where the files came from: `hub`, `wheel`, ...
    pub source: String,
    /// Revision at that source, such as a commit of the hub or a package version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The files that a reader of the model needs, shards included.
    #[serde(deserialize_with = "read_files")]
    pub files: Vec<ManifestFile>,
    /// The weights digest, see [`crate::digest`].
    #[serde(with = "hexadecimal")]
    pub weights_sha256: Sha256Digest,
    /// SHA-256 of each tensor's little-endian bytes, by name.
    #[serde(serialize_with = "write_tensors", deserialize_with = "read_tensors")]
    pub tensors: BTreeMap<String, Sha256Digest>,
}

/// One file of a [`Manifest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// File name, without folders.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the whole file.
    #[serde(with = "hexadecimal")]
    pub sha256: Sha256Digest,
}

/// Why a manifest cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManifestError {
    /// It is not JSON of this form.
    Json {
        /// What the JSON reader says, with line and column.
        reason: String,
    },
    /// A file's name leads out of the folder.
    FileName {
        /// The name.
        name: String,
    },
    /// A file is listed twice.
    FileTwice {
        /// The name.
        name: String,
    },
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ManifestError::Json { reason } => write!(f, "{FILE_NAME} is malformed: {reason}"),
            ManifestError::FileName { name } => write!(f, "{FILE_NAME} lists {name:?}, which is not a plain file name"),
            ManifestError::FileTwice { name } => write!(f, "{FILE_NAME} lists {name:?} twice"),
        }
    }
}

impl error::Error for ManifestError {}

impl Manifest {
    /// Reads and validates a manifest.
    ///
    /// # Errors
    /// If it is malformed, or its file names are not plain or not unique.
    pub fn from_json(text: &[u8]) -> Result<Manifest, ManifestError> {
        let Object(manifest): Object<Manifest> =
            serde_json::from_slice(text).map_err(|error| ManifestError::Json { reason: error.to_string() })?;
        for (at, ManifestFile { name, .. }) in manifest.files.iter().enumerate() {
            if !is_plain_name(name) {
                return Err(ManifestError::FileName { name: name.clone() });
            }
            if manifest.files[..at].iter().any(|earlier| earlier.name == *name) {
                return Err(ManifestError::FileTwice { name: name.clone() });
            }
        }
        Ok(manifest)
    }

    /// The manifest as JSON, ending in a line feed.
    ///
    /// # Panics
    /// Never: every part of a manifest has a JSON form.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("texts, numbers and maps of texts are JSON");
        text.push('\n');
        text
    }

    /// The entry of that file.
    pub fn file(&self, name: &str) -> Option<&ManifestFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

mod hexadecimal {
    use super::*;

    pub(super) fn serialize<S: Serializer>(digest: &Sha256Digest, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&digest::hex(digest))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Sha256Digest, D::Error> {
        parse(&String::deserialize(deserializer)?)
    }

    pub(super) fn parse<E: serde::de::Error>(text: &str) -> Result<Sha256Digest, E> {
        digest::from_hex(text)
            .ok_or_else(|| E::custom(format!("{text:?} is not a SHA-256: 64 lower-case hexadecimal digits")))
    }
}

fn read_files<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<ManifestFile>, D::Error> {
    let files = Vec::<Object<ManifestFile>>::deserialize(deserializer)?;
    Ok(files.into_iter().map(|Object(file)| file).collect())
}

fn write_tensors<S: Serializer>(tensors: &BTreeMap<String, Sha256Digest>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(tensors.iter().map(|(name, sha256)| (name, digest::hex(sha256))))
}

fn read_tensors<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Sha256Digest>, D::Error> {
    let entries = Entries::<String>::deserialize(deserializer)?;
    if let Some(name) = entries.duplicate() {
        return Err(serde::de::Error::custom(format!("tensor {name:?} is listed twice")));
    }
    entries.0.into_iter().map(|(name, text)| Ok((name, hexadecimal::parse(&text)?))).collect()
}
