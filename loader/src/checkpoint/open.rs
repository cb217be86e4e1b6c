//! Opening a model folder.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use super::index::Index;
use super::{Bytes, Checkpoint, CheckpointError, part};

/// The file of a model in one piece.
const SINGLE: &str = "model.safetensors";
/// The file that tells in which shard a tensor lies.
const INDEX: &str = "model.safetensors.index.json";
/// Longest index that is read, in bytes: the headers it summarises are bounded by the same number.
const MAX_INDEX_LEN: u64 = crate::MAX_HEADER_LEN;

/// How weight files are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Mapped into memory: opened at once, pages are shared between processes. Nobody may change the files meanwhile.
    #[cfg(feature = "mmap")]
    #[default]
    Map,
    /// Read into memory.
    #[cfg_attr(not(feature = "mmap"), default)]
    Read,
}

impl Checkpoint {
    /// Opens and validates the weights in the folder `dir`: `model.safetensors`, or else the shards that
    /// `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// If neither is there, a file cannot be opened or is invalid, or index and shards disagree.
    pub fn open(dir: &Path, access: Access) -> Result<Checkpoint, CheckpointError> {
        if dir.join(SINGLE).exists() {
            return Self::open_file(&dir.join(SINGLE), access);
        }
        if !dir.join(INDEX).exists() {
            return Err(CheckpointError::NotFound { dir: dir.to_owned() });
        }
        let index = Index::parse(&read_index(dir)?)?;
        let parts = index.files().map(|file| part(file.to_owned(), open_bytes(&dir.join(file), access)?));
        Self::assemble(parts.collect::<Result<_, _>>()?, Some(&index))
    }

    /// Opens and validates one safetensors file of any name.
    ///
    /// # Errors
    /// If it cannot be opened or is invalid.
    pub fn open_file(path: &Path, access: Access) -> Result<Checkpoint, CheckpointError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self::assemble(vec![part(name.into_owned(), open_bytes(path, access)?)?], None)
    }
}

fn read_index(dir: &Path) -> Result<Vec<u8>, CheckpointError> {
    let path = dir.join(INDEX);
    let read = || {
        let mut text = Vec::new();
        File::open(&path)?.take(MAX_INDEX_LEN + 1).read_to_end(&mut text)?;
        Ok(text)
    };
    let text = read().map_err(|error| CheckpointError::Io { path: path.clone(), error })?;
    if text.len() as u64 > MAX_INDEX_LEN {
        return Err(CheckpointError::Index { reason: format!("it is longer than {MAX_INDEX_LEN} bytes") });
    }
    Ok(text)
}

fn open_bytes(path: &Path, access: Access) -> Result<Bytes, CheckpointError> {
    let opened = match access {
        #[cfg(feature = "mmap")]
        Access::Map => map(path),
        Access::Read => read(path),
    };
    opened.map_err(|error| CheckpointError::Io { path: path.to_owned(), error })
}

/// The most bytes that the system is asked for at once: those that run WASI programs refuse calls with very large ones.
const PIECE: u64 = 16 << 20;

fn read(path: &Path) -> io::Result<Bytes> {
    let len = fs::metadata(path)?.len();
    let mut bytes = Vec::new();
    let room = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    bytes.try_reserve_exact(room).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let mut file = File::open(path)?;
    // More bytes than the file had tell a file that grows from one that does not.
    while bytes.len() as u64 <= len && (&mut file).take(PIECE).read_to_end(&mut bytes)? > 0 {}
    if bytes.len() as u64 != len {
        return Err(io::Error::other(format!("the file had {len} bytes and changed while it was read")));
    }
    Ok(Arc::new(bytes))
}

#[cfg(feature = "mmap")]
#[allow(unsafe_code, reason = "a mapping is the one thing here that the compiler cannot check")]
fn map(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("this is not a file"));
    }
    // SAFETY: a mapping is sound while nobody changes the file. We never write to weight files in place (`SafeFile`
    // replaces them), `Access::Map` states the condition for others, and `Access::Read` is there where it does not hold.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Arc::new(map))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    #[test]
    fn a_file_is_read_to_its_end_in_pieces() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights");
        let mut file = File::create(&path).unwrap();
        file.seek(SeekFrom::Start(2 * PIECE)).unwrap();
        file.write_all(b"end").unwrap();
        let bytes = read(&path).unwrap();
        let bytes: &[u8] = (*bytes).as_ref();
        assert!(bytes.len() as u64 == 2 * PIECE + 3 && bytes.ends_with(b"\0end"));
    }
}
