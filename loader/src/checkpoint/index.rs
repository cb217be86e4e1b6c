//! `model.safetensors.index.json`: which tensor lies in which file.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{CheckpointError, Shard};
use crate::entries::Entries;
use crate::object::Object;

/// A validated index. Its file names are plain names: they cannot lead out of the folder.
#[derive(Debug)]
pub(super) struct Index {
    /// File of each tensor.
    files: BTreeMap<String, String>,
}

/// The index as it stands in the file; its `metadata` repeats what the shards say.
#[derive(Deserialize)]
struct Document {
    weight_map: Entries<String>,
}

impl Index {
    pub(super) fn parse(text: &[u8]) -> Result<Index, CheckpointError> {
        let Object(Document { weight_map }) = serde_json::from_slice(text)
            .map_err(|error| CheckpointError::Index { reason: format!("it is not valid JSON: {error}") })?;
        if let Some(tensor) = weight_map.duplicate() {
            return Err(CheckpointError::Index { reason: format!("it lists tensor {tensor:?} twice") });
        }
        if weight_map.0.is_empty() {
            return Err(CheckpointError::Index { reason: "its weight_map is empty".to_owned() });
        }
        for (tensor, file) in &weight_map.0 {
            if !is_plain_name(file) {
                return Err(CheckpointError::FileName { tensor: tensor.clone(), file: file.clone() });
            }
        }
        Ok(Index { files: weight_map.0.into_iter().collect() })
    }

    /// The files, sorted by name, each once.
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        let files: BTreeSet<&str> = self.files.values().map(String::as_str).collect();
        files.into_iter()
    }

    /// Checks that the shards hold exactly what the index says, each tensor in its file.
    pub(super) fn check(&self, shards: &[Shard]) -> Result<(), CheckpointError> {
        for shard in shards {
            for tensor in shard.header().tensors() {
                let found = shard.file();
                match self.files.get(&tensor.name) {
                    Some(file) if file == found => {}
                    expected => {
                        return Err(CheckpointError::Unlisted {
                            tensor: tensor.name.clone(),
                            file: found.to_owned(),
                            listed: expected.cloned(),
                        });
                    }
                }
            }
        }
        for (tensor, file) in &self.files {
            let mut holders = shards.iter().filter(|shard| shard.file() == file);
            match (holders.next(), holders.next()) {
                (Some(shard), None) if shard.header().tensor(tensor).is_some() => {}
                (_, Some(_)) => return Err(CheckpointError::FileTwice { file: file.clone() }),
                _ => return Err(CheckpointError::Missing { tensor: tensor.clone(), file: file.clone() }),
            }
        }
        Ok(())
    }
}

/// Whether `name` is a file name alone: no folder, no drive, nothing that leads elsewhere.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let forbidden = |letter: char| letter.is_control() || matches!(letter, '/' | '\\' | ':');
    !name.is_empty() && name != "." && name != ".." && !name.contains(forbidden)
}
