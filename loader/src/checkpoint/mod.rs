//! A model's weights: one safetensors file, or shards with an index.

mod error;
mod index;
mod open;

use std::fmt;
use std::sync::Arc;

pub use error::CheckpointError;
pub use open::Access;

use crate::digest::{Sha256Digest, TensorDigest, sha256, weights_digest};
use crate::{Header, SafetensorsError, TensorInfo};
use index::Index;
pub(crate) use index::is_plain_name;

/// The bytes of a whole file, mapped or in memory, shared by all who look at its tensors.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// One file of a [`Checkpoint`] that is put together in memory.
pub struct Part {
    /// File name, as the index calls it.
    pub file: String,
    /// Its header.
    pub header: Header,
    /// Its bytes, from the first of the file on.
    pub bytes: Bytes,
}

/// One validated file of a [`Checkpoint`].
pub struct Shard {
    file: String,
    header: Header,
    bytes: Bytes,
}

impl Shard {
    /// File name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The file's header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The bytes of the whole file; a tensor's are at its [`TensorInfo::range`].
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl fmt::Debug for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("file", &self.file).field("header", &self.header).finish_non_exhaustive()
    }
}

/// All tensors of a model, validated, in one or more files. No name occurs twice.
#[derive(Debug)]
pub struct Checkpoint {
    shards: Vec<Shard>,
}

impl Checkpoint {
    /// Puts a checkpoint together from files in memory: the one file of a model without `index`, or all that the
    /// `index` (the text of `model.safetensors.index.json`) names.
    ///
    /// # Errors
    /// If a file has another length than its header was checked against, or index and files disagree.
    pub fn from_parts(parts: Vec<Part>, index: Option<&[u8]>) -> Result<Checkpoint, CheckpointError> {
        let index = index.map(Index::parse).transpose()?;
        Self::assemble(parts, index.as_ref())
    }

    fn assemble(parts: Vec<Part>, index: Option<&Index>) -> Result<Checkpoint, CheckpointError> {
        let mut shards = Vec::with_capacity(parts.len());
        for Part { file, header, bytes } in parts {
            let (found, expected) = ((*bytes).as_ref().len(), header.file_len());
            if found != expected {
                return Err(CheckpointError::Length { file, expected, found });
            }
            shards.push(Shard { file, header, bytes });
        }
        match index {
            Some(index) => index.check(&shards)?,
            None if shards.len() == 1 => {}
            None => return Err(CheckpointError::IndexNeeded { files: shards.len() }),
        }
        Ok(Checkpoint { shards })
    }

    /// The files.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// All tensors, file by file in the order of their bytes.
    pub fn tensors(&self) -> impl Iterator<Item = (&TensorInfo, &Shard)> {
        self.shards.iter().flat_map(|shard| shard.header.tensors().iter().map(move |tensor| (tensor, shard)))
    }

    /// The tensor of that name, and the bytes of the file in which it lies at [`TensorInfo::range`].
    pub fn tensor(&self, name: &str) -> Option<(&TensorInfo, &Bytes)> {
        self.shards.iter().find_map(|shard| Some((shard.header.tensor(name)?, &shard.bytes)))
    }

    /// The little-endian bytes of the tensor of that name.
    pub fn tensor_bytes(&self, name: &str) -> Option<&[u8]> {
        let (tensor, bytes) = self.tensor(name)?;
        (**bytes).as_ref().get(tensor.range.clone())
    }

    /// Hashes every tensor. Reads all weights once.
    pub fn tensor_digests(&self) -> Vec<TensorDigest> {
        let digest = |(tensor, shard): (&TensorInfo, &Shard)| TensorDigest {
            name: tensor.name.clone(),
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
            sha256: sha256(&(*shard.bytes).as_ref()[tensor.range.clone()]),
        };
        self.tensors().map(digest).collect()
    }

    /// The weights digest of this checkpoint, see [`crate::digest`]. Reads all weights once.
    pub fn digest(&self) -> Sha256Digest {
        weights_digest(self.tensor_digests())
    }
}

/// Parses the header of a file whose bytes are all there.
fn part(file: String, bytes: Bytes) -> Result<Part, CheckpointError> {
    let parse = |bytes: &[u8]| -> Result<Header, SafetensorsError> { Header::parse(bytes, bytes.len() as u64) };
    match parse((*bytes).as_ref()) {
        Ok(header) => Ok(Part { file, header, bytes }),
        Err(error) => Err(CheckpointError::Safetensors { file, error }),
    }
}
