//! The ways in which the head of a safetensors file can be wrong.

use std::fmt;

use super::header::MAX_HEADER_LEN;
use crate::DType;

/// What is wrong with a safetensors file, with the tensor's name and the numbers.
///
/// Offsets are bytes from the end of the header, as in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SafetensorsError {
    /// The file has no room for the header's length.
    FileTooShort {
        /// Bytes in the file.
        file_len: u64,
    },
    /// The file cannot be addressed on this machine (a 32-bit one, such as WebAssembly).
    FileTooLarge {
        /// Bytes in the file.
        file_len: u64,
    },
    /// The header is longer than [`MAX_HEADER_LEN`].
    HeaderTooLarge {
        /// The length that the file states.
        header_len: u64,
    },
    /// The header ends beyond the end of the file.
    HeaderBeyondFile {
        /// The length that the file states.
        header_len: u64,
        /// Bytes in the file.
        file_len: u64,
    },
    /// Fewer bytes were handed over than the header needs.
    PrefixTooShort {
        /// Bytes handed over.
        have: usize,
        /// Bytes needed, see [`Header::size_of_prefix`](super::Header::size_of_prefix).
        need: usize,
    },
    /// The header is not UTF-8.
    NotUtf8 {
        /// Byte of the header at which it stops being UTF-8.
        at: usize,
    },
    /// The header does not begin with `{`.
    NotAnObject {
        /// The first byte, if there is one.
        first: Option<u8>,
    },
    /// The header is not JSON.
    Json {
        /// What the JSON reader says, with line and column.
        reason: String,
    },
    /// `__metadata__` is not an object of texts.
    Metadata {
        /// What is wrong with it.
        reason: String,
    },
    /// Two tensors have the same name.
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A name holds a control character.
    ControlCharacter {
        /// The name.
        name: String,
    },
    /// A tensor's entry lacks a field or has one of the wrong type.
    Entry {
        /// The tensor.
        name: String,
        /// What the JSON reader says.
        reason: String,
    },
    /// A tensor has an element type that the format does not know.
    UnknownDType {
        /// The tensor.
        name: String,
        /// Its `dtype`.
        dtype: String,
    },
    /// A tensor's size does not fit into 64 bits.
    ShapeOverflow {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// A tensor of elements smaller than a byte does not fill its last byte.
    PartialByte {
        /// The tensor.
        name: String,
        /// Its element type.
        dtype: DType,
        /// Its shape.
        shape: Vec<u64>,
    },
    /// A tensor ends before it begins.
    OffsetsReversed {
        /// The tensor.
        name: String,
        /// Its first byte.
        start: u64,
        /// The byte after its last.
        end: u64,
    },
    /// A tensor ends beyond the end of the file: usually an incomplete download.
    BeyondFile {
        /// The tensor.
        name: String,
        /// The byte after its last.
        end: u64,
        /// Bytes that follow the header.
        data_len: u64,
    },
    /// A tensor's offsets hold another number of bytes than its shape needs.
    SizeMismatch {
        /// The tensor.
        name: String,
        /// Its element type.
        dtype: DType,
        /// Its shape.
        shape: Vec<u64>,
        /// Bytes that type and shape need.
        needed: u64,
        /// Bytes between the offsets.
        found: u64,
    },
    /// Bytes before a tensor belong to no tensor.
    Gap {
        /// The tensor.
        name: String,
        /// Where the tensors before it end.
        expected: u64,
        /// Where it begins.
        start: u64,
    },
    /// A tensor begins inside another.
    Overlap {
        /// The tensor.
        name: String,
        /// The tensor that it overlaps.
        other: String,
        /// Where it begins.
        start: u64,
        /// Where the other ends.
        other_end: u64,
    },
    /// Bytes after the last tensor belong to no tensor.
    TrailingBytes {
        /// Where the last tensor ends.
        end: u64,
        /// Bytes that follow the header.
        data_len: u64,
    },
}

impl fmt::Display for SafetensorsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use SafetensorsError::*;
        match self {
            FileTooShort { file_len } => {
                write!(f, "the file has {file_len} bytes; a safetensors file begins with 8 bytes of header length")
            }
            FileTooLarge { file_len } => write!(f, "the file has {file_len} bytes, more than this machine can address"),
            HeaderTooLarge { header_len } => write!(
                f,
                "the header claims {header_len} bytes, more than the {MAX_HEADER_LEN} allowed; is this a safetensors file?"
            ),
            HeaderBeyondFile { header_len, file_len } => write!(
                f,
                "the header claims {header_len} bytes but the file has only {file_len}; \
                 the download may be incomplete, or this is not a safetensors file"
            ),
            PrefixTooShort { have, need } => write!(f, "{have} bytes given, the header needs {need}"),
            NotUtf8 { at } => write!(f, "the header is not UTF-8 at its byte {at}"),
            NotAnObject { first: Some(first) } => {
                write!(f, "the header begins with byte 0x{first:02x}, it must begin with '{{'")
            }
            NotAnObject { first: None } => write!(f, "the header is empty, it must begin with '{{'"),
            Json { reason } => write!(f, "the header is not valid JSON: {reason}"),
            Metadata { reason } => write!(f, "the header's __metadata__ must map texts to texts: {reason}"),
            DuplicateName { name } => write!(f, "tensor {name:?} stands in the header twice"),
            ControlCharacter { name } => write!(f, "the tensor name {name:?} holds a control character"),
            Entry { name, reason } => write!(f, "tensor {name:?} has a malformed entry: {reason}"),
            UnknownDType { name, dtype } => write!(f, "tensor {name:?} has the unknown dtype {dtype:?}"),
            ShapeOverflow { name, shape } => {
                write!(f, "tensor {name:?} with shape {shape:?} has more bytes than 64 bits can count")
            }
            PartialByte { name, dtype, shape } => {
                write!(f, "tensor {name:?} ({dtype} {shape:?}) does not end at a whole byte")
            }
            OffsetsReversed { name, start, end } => {
                write!(f, "tensor {name:?} has data_offsets [{start}, {end}]: it ends before it begins")
            }
            BeyondFile { name, end, data_len } => write!(
                f,
                "tensor {name:?} ends at byte {end} of the data, but only {data_len} bytes follow the header; \
                 the download may be incomplete"
            ),
            SizeMismatch { name, dtype, shape, needed, found } => {
                write!(f, "tensor {name:?} ({dtype} {shape:?}) needs {needed} bytes, its data_offsets hold {found}")
            }
            Gap { name, expected, start } => write!(
                f,
                "tensor {name:?} begins at byte {start} of the data, but the tensors before it end at {expected}: \
                 the bytes between belong to no tensor"
            ),
            Overlap { name, other, start, other_end } => write!(
                f,
                "tensor {name:?} begins at byte {start} of the data, inside tensor {other:?}, which ends at {other_end}"
            ),
            TrailingBytes { end, data_len } => {
                write!(f, "the last tensor ends at byte {end} of the data, but {data_len} bytes follow the header")
            }
        }
    }
}

impl std::error::Error for SafetensorsError {}
