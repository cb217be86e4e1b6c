//! Writing a safetensors file.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::{error, fmt};

use serde_json::json;

use super::header::METADATA;
use crate::digest::{TensorDigest, sha256};
use crate::{DType, SafeFile};

/// A tensor to be written.
#[derive(Debug, Clone, Copy)]
pub struct TensorSource<'a> {
    /// Name, unique in the file, without control characters.
    pub name: &'a str,
    /// Element type.
    pub dtype: DType,
    /// Length of each axis, outermost first.
    pub shape: &'a [usize],
    /// The elements, little-endian.
    pub bytes: &'a [u8],
}

impl TensorSource<'_> {
    /// What the weights digest takes from it.
    pub fn digest(&self) -> TensorDigest {
        let TensorSource { name, dtype, shape, bytes } = *self;
        TensorDigest { name: name.to_owned(), dtype, shape: shape.to_vec(), sha256: sha256(bytes) }
    }
}

/// Why a safetensors file was not written.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// A name is given twice, is `__metadata__`, or holds a control character.
    Name {
        /// The name.
        name: String,
    },
    /// Type and shape need another number of bytes than given.
    Size {
        /// The tensor.
        name: String,
        /// Its element type.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
        /// Bytes given.
        bytes: usize,
    },
    /// The system refused.
    Io {
        /// The file to be written.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Name { name } => write!(
                f,
                "the tensor name {name:?} cannot be written: it is given twice, reserved, or holds a control character"
            ),
            WriteError::Size { name, dtype, shape, bytes } => {
                write!(f, "tensor {name:?} ({dtype} {shape:?}) was given {bytes} bytes, which is not its size")
            }
            WriteError::Io { path, error } => write!(f, "cannot write {}: {error}", path.display()),
        }
    }
}

impl error::Error for WriteError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            WriteError::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Writes a safetensors file to `path`, whole or not at all.
///
/// As in the reference implementation, tensors with wide elements come first and then names decide, so that every
/// tensor is aligned to its elements and equal input gives equal bytes.
///
/// # Errors
/// If names or sizes are wrong (nothing is written), or the system refuses (`path` is as it was).
pub fn write_safetensors(
    path: &Path,
    tensors: &[TensorSource<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<(), WriteError> {
    let parts = parts(tensors, metadata)?;
    let write = || {
        let mut file = BufWriter::new(SafeFile::create(path)?);
        for part in &parts {
            file.write_all(part)?;
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.commit()
    };
    write().map_err(|error| WriteError::Io { path: path.to_owned(), error })
}

/// The bytes of the file that [`write_safetensors`] writes.
///
/// # Errors
/// If names or sizes are wrong.
pub fn safetensors_bytes(
    tensors: &[TensorSource<'_>],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, WriteError> {
    Ok(parts(tensors, metadata)?.concat())
}

/// What a file consists of: the header with its length, then the tensors.
fn parts<'a>(
    tensors: &[TensorSource<'a>],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<Cow<'a, [u8]>>, WriteError> {
    check(tensors)?;
    let mut ordered: Vec<&TensorSource<'a>> = tensors.iter().collect();
    ordered.sort_by(|a, b| b.dtype.bits().cmp(&a.dtype.bits()).then_with(|| a.name.cmp(b.name)));
    let header = header(&ordered, metadata);
    let length = (header.len() as u64).to_le_bytes().to_vec();
    let head = [length, header].map(Cow::Owned).into_iter();
    Ok(head.chain(ordered.iter().map(|tensor| Cow::Borrowed(tensor.bytes))).collect())
}

fn check(tensors: &[TensorSource<'_>]) -> Result<(), WriteError> {
    let mut names = BTreeSet::new();
    for tensor in tensors {
        let name = tensor.name;
        if name == METADATA || name.chars().any(char::is_control) || !names.insert(name) {
            return Err(WriteError::Name { name: name.to_owned() });
        }
        let elements = tensor.shape.iter().try_fold(1u64, |product, &len| product.checked_mul(len as u64));
        let bits = elements.and_then(|elements| elements.checked_mul(tensor.dtype.bits()));
        if bits != Some(tensor.bytes.len() as u64 * 8) {
            return Err(WriteError::Size {
                name: name.to_owned(),
                dtype: tensor.dtype,
                shape: tensor.shape.to_vec(),
                bytes: tensor.bytes.len(),
            });
        }
    }
    Ok(())
}

/// The JSON header, padded with spaces so that the data begins at a multiple of 8.
fn header(ordered: &[&TensorSource<'_>], metadata: &BTreeMap<String, String>) -> Vec<u8> {
    let mut entries = Vec::with_capacity(ordered.len() + 1);
    if !metadata.is_empty() {
        entries.push(format!("{}:{}", json!(METADATA), json!(metadata)));
    }
    let mut start = 0;
    for tensor in ordered {
        let end = start + tensor.bytes.len();
        let entry = json!({ "dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [start, end] });
        entries.push(format!("{}:{entry}", json!(tensor.name)));
        start = end;
    }
    let mut header = format!("{{{}}}", entries.join(",")).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    header
}
