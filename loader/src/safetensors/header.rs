//! Parsing and validation of a header.

use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::SafetensorsError;
use crate::DType;
use crate::entries::Entries;
use crate::object::Object;

/// Longest header that is read, in bytes: the limit of the reference implementation.
pub const MAX_HEADER_LEN: u64 = 100_000_000;

/// Bytes before the header: its length as a little-endian `u64`.
const LENGTH_LEN: usize = 8;

/// The entry beside the tensors that holds free texts.
pub(super) const METADATA: &str = "__metadata__";

/// What a header says about one tensor, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name, unique in the file.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Length of each axis, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Bytes within the file, counted from its start.
    pub range: Range<usize>,
}

/// The validated header of a safetensors file.
///
/// Its tensors lie inside the file, without gaps or overlaps, up to the last byte.
#[derive(Debug, Clone)]
pub struct Header {
    tensors: Vec<TensorInfo>,
    /// Positions in `tensors`, sorted by name.
    by_name: Vec<usize>,
    metadata: Vec<(String, String)>,
    file_len: usize,
}

/// A tensor's entry as it stands in the file.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl Header {
    /// Number of bytes that [`Header::parse`] needs, from the first eight bytes of a file of `file_len` bytes.
    ///
    /// # Errors
    /// If the stated header is too large or ends beyond the file.
    pub fn size_of_prefix(first8: [u8; 8], file_len: u64) -> Result<usize, SafetensorsError> {
        if file_len < LENGTH_LEN as u64 {
            return Err(SafetensorsError::FileTooShort { file_len });
        }
        let header_len = u64::from_le_bytes(first8);
        if header_len > MAX_HEADER_LEN {
            return Err(SafetensorsError::HeaderTooLarge { header_len });
        }
        if header_len > file_len - LENGTH_LEN as u64 {
            return Err(SafetensorsError::HeaderBeyondFile { header_len, file_len });
        }
        Ok(LENGTH_LEN + header_len as usize)
    }

    /// Parses the header that begins a file of `file_len` bytes. `prefix` holds at least its first
    /// [`Header::size_of_prefix`] bytes; the tensors' bytes are not looked at and need not have arrived.
    ///
    /// # Errors
    /// Whatever makes the header invalid, and whatever it claims that the file's length contradicts.
    pub fn parse(prefix: &[u8], file_len: u64) -> Result<Header, SafetensorsError> {
        let Some(first8) = prefix.first_chunk::<LENGTH_LEN>() else {
            return Err(match file_len {
                0..8 => SafetensorsError::FileTooShort { file_len },
                _ => SafetensorsError::PrefixTooShort { have: prefix.len(), need: LENGTH_LEN },
            });
        };
        let data_start = Self::size_of_prefix(*first8, file_len)?;
        let header = prefix
            .get(LENGTH_LEN..data_start)
            .ok_or(SafetensorsError::PrefixTooShort { have: prefix.len(), need: data_start })?;
        let addressable = usize::try_from(file_len).ok().filter(|&len| len <= isize::MAX as usize);
        let file_len = addressable.ok_or(SafetensorsError::FileTooLarge { file_len })?;

        let text =
            std::str::from_utf8(header).map_err(|error| SafetensorsError::NotUtf8 { at: error.valid_up_to() })?;
        if !text.starts_with('{') {
            return Err(SafetensorsError::NotAnObject { first: header.first().copied() });
        }
        let entries: Entries<&RawValue> =
            serde_json::from_str(text).map_err(|error| SafetensorsError::Json { reason: error.to_string() })?;
        if let Some(name) = entries.duplicate() {
            return Err(SafetensorsError::DuplicateName { name: name.to_owned() });
        }

        let mut metadata = Vec::new();
        let mut tensors = Vec::with_capacity(entries.0.len());
        for (name, value) in entries.0 {
            if name == METADATA {
                metadata = read_metadata(value)?;
            } else {
                tensors.push(read_tensor(name, value, data_start, file_len)?);
            }
        }
        tensors.sort_by_key(|tensor| (tensor.range.start, tensor.range.end));
        check_layout(&tensors, data_start, file_len)?;

        let mut by_name: Vec<usize> = (0..tensors.len()).collect();
        by_name.sort_unstable_by(|&a, &b| tensors[a].name.cmp(&tensors[b].name));
        Ok(Header { tensors, by_name, metadata, file_len })
    }

    /// The tensors in the order of their bytes.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let found = self.by_name.binary_search_by(|&at| self.tensors[at].name.as_str().cmp(name)).ok()?;
        Some(&self.tensors[self.by_name[found]])
    }

    /// The texts of `__metadata__`, in file order.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.metadata
    }

    /// Bytes of the whole file.
    pub fn file_len(&self) -> usize {
        self.file_len
    }
}

fn read_metadata(value: &RawValue) -> Result<Vec<(String, String)>, SafetensorsError> {
    let texts: Entries<String> =
        serde_json::from_str(value.get()).map_err(|error| SafetensorsError::Metadata { reason: error.to_string() })?;
    match texts.duplicate() {
        Some(key) => Err(SafetensorsError::Metadata { reason: format!("key {key:?} stands there twice") }),
        None => Ok(texts.0),
    }
}

fn read_tensor(
    name: String,
    value: &RawValue,
    data_start: usize,
    file_len: usize,
) -> Result<TensorInfo, SafetensorsError> {
    if name.chars().any(char::is_control) {
        return Err(SafetensorsError::ControlCharacter { name });
    }
    let Object(Entry { dtype, shape, data_offsets: (start, end) }) = match serde_json::from_str(value.get()) {
        Ok(entry) => entry,
        Err(error) => return Err(SafetensorsError::Entry { name, reason: error.to_string() }),
    };
    let Some(dtype) = DType::from_name(&dtype) else {
        return Err(SafetensorsError::UnknownDType { name, dtype });
    };
    // A zero anywhere makes the product zero, but the other axes must be representable all the same.
    let bits = shape.iter().try_fold(1u64, |product, &len| product.checked_mul(len));
    let Some(bits) = bits.and_then(|elements| elements.checked_mul(dtype.bits())) else {
        return Err(SafetensorsError::ShapeOverflow { name, shape });
    };
    let Ok(axes) = shape.iter().map(|&len| usize::try_from(len)).collect::<Result<Vec<usize>, _>>() else {
        return Err(SafetensorsError::ShapeOverflow { name, shape });
    };
    if bits % 8 != 0 {
        return Err(SafetensorsError::PartialByte { name, dtype, shape });
    }
    if end < start {
        return Err(SafetensorsError::OffsetsReversed { name, start, end });
    }
    let data_len = (file_len - data_start) as u64;
    if end > data_len {
        return Err(SafetensorsError::BeyondFile { name, end, data_len });
    }
    let (needed, found) = (bits / 8, end - start);
    if needed != found {
        return Err(SafetensorsError::SizeMismatch { name, dtype, shape, needed, found });
    }
    // Both offsets are at most `data_len`, which is a part of `file_len`: no cast loses anything.
    Ok(TensorInfo { name, dtype, shape: axes, range: data_start + start as usize..data_start + end as usize })
}

/// Checks that the tensors, sorted by offset, fill the data without gap, overlap or rest.
fn check_layout(tensors: &[TensorInfo], data_start: usize, file_len: usize) -> Result<(), SafetensorsError> {
    let offset = |at: usize| (at - data_start) as u64;
    let mut expected = data_start;
    let mut previous: Option<&TensorInfo> = None;
    for tensor in tensors {
        let start = tensor.range.start;
        let name = || tensor.name.clone();
        if start > expected {
            return Err(SafetensorsError::Gap { name: name(), expected: offset(expected), start: offset(start) });
        }
        if let Some(other) = previous.filter(|_| start < expected) {
            return Err(SafetensorsError::Overlap {
                name: name(),
                other: other.name.clone(),
                start: offset(start),
                other_end: offset(expected),
            });
        }
        expected = tensor.range.end;
        previous = Some(tensor);
    }
    if expected != file_len {
        return Err(SafetensorsError::TrailingBytes { end: offset(expected), data_len: offset(file_len) });
    }
    Ok(())
}
