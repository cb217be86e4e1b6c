//! The ways in which a GGUF file can be wrong.

use std::{error, fmt};

/// What is wrong with a GGUF file, with the name of the key or tensor and the numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GgufError {
    /// It does not begin with `GGUF`.
    Magic {
        /// The first bytes.
        found: [u8; 4],
    },
    /// Its version is not read here.
    Version {
        /// The version.
        found: u32,
    },
    /// It ends too early.
    Truncated {
        /// What was being read.
        what: String,
        /// Where, in bytes from the start.
        at: usize,
        /// Bytes needed.
        needed: u64,
        /// Bytes left.
        left: usize,
    },
    /// A text is not UTF-8.
    NotUtf8 {
        /// What was being read.
        what: String,
        /// Where, in bytes from the start.
        at: usize,
    },
    /// A value has an unknown type.
    ValueType {
        /// The key.
        key: String,
        /// The type's code.
        found: u32,
    },
    /// A truth value is neither 0 nor 1.
    Bool {
        /// The key.
        key: String,
        /// The byte.
        found: u8,
    },
    /// A value is an array of arrays, which is not read here.
    NestedArray {
        /// The key.
        key: String,
    },
    /// A key or a tensor's name occurs twice.
    Duplicate {
        /// The name.
        name: String,
    },
    /// `general.alignment` is not a power of two of 32 bits.
    Alignment {
        /// The value.
        found: String,
    },
    /// A tensor has too many axes.
    Axes {
        /// The tensor.
        tensor: String,
        /// Number of axes.
        found: u32,
    },
    /// A tensor's type is not read here.
    TensorType {
        /// The tensor.
        tensor: String,
        /// The type's code.
        found: u32,
    },
    /// A tensor has an axis of length 0, or more elements than memory can hold.
    Shape {
        /// The tensor.
        tensor: String,
        /// Its axes, innermost first.
        axes: Vec<u64>,
    },
    /// A tensor's rows are not whole blocks of its type.
    PartialBlock {
        /// The tensor.
        tensor: String,
        /// Length of a row.
        row: u64,
        /// Elements of a block.
        block: u64,
    },
    /// A tensor does not begin at the first aligned byte after the one before it: a gap or an overlap.
    Offset {
        /// The tensor.
        tensor: String,
        /// Where it begins, in bytes from the start of the data.
        found: u64,
        /// Where it had to begin.
        expected: u64,
    },
    /// A tensor ends beyond the end of the file.
    BeyondFile {
        /// The tensor.
        tensor: String,
        /// Where it begins, in bytes from the start of the data.
        offset: u64,
        /// Its bytes.
        len: u64,
        /// Bytes of data in the file.
        data_len: u64,
    },
    /// Bytes after the last tensor belong to no tensor.
    TrailingBytes {
        /// Where the last tensor ends, in bytes from the start of the data.
        end: u64,
        /// Bytes of data in the file.
        data_len: u64,
    },
}

impl fmt::Display for GgufError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use GgufError::*;
        match self {
            Magic { found } => write!(f, "the file begins with {found:02x?}, not with \"GGUF\""),
            Version { found } => write!(f, "GGUF version {found} is not supported (2 and 3 are, little-endian)"),
            Truncated { what, at, needed, left } => write!(
                f,
                "the file ends in {what}: {needed} bytes needed at byte {at}, {left} left; \
                 the download may be incomplete"
            ),
            NotUtf8 { what, at } => write!(f, "{what} is not UTF-8 at byte {at} of the file"),
            ValueType { key, found } => write!(f, "{key} has the unknown value type {found}"),
            Bool { key, found } => write!(f, "{key} holds the truth value {found}, which is neither 0 nor 1"),
            NestedArray { key } => write!(f, "{key} is an array of arrays, which is not supported"),
            Duplicate { name } => write!(f, "{name:?} stands in the file twice"),
            Alignment { found } => write!(f, "general.alignment is {found}, not a power of two"),
            Axes { tensor, found } => write!(f, "tensor {tensor:?} has {found} axes, at most 4 are allowed"),
            TensorType { tensor, found } => write!(
                f,
                "tensor {tensor:?} has type {found}, which is not supported (F32, F16, BF16, Q4_0, Q4_1, Q8_0 are)"
            ),
            Shape { tensor, axes } => {
                write!(f, "tensor {tensor:?} with axes {axes:?} is empty or larger than memory can be")
            }
            PartialBlock { tensor, row, block } => {
                write!(f, "tensor {tensor:?} has rows of {row} elements, which are not whole blocks of {block}")
            }
            Offset { tensor, found, expected } => write!(
                f,
                "tensor {tensor:?} begins at byte {found} of the data and had to begin at {expected}: \
                 a gap or an overlap"
            ),
            BeyondFile { tensor, offset, len, data_len } => write!(
                f,
                "tensor {tensor:?} takes {len} bytes from byte {offset} of the data, which has only {data_len}; \
                 the download may be incomplete"
            ),
            TrailingBytes { end, data_len } => {
                write!(f, "the last tensor ends at byte {end} of the data, which has {data_len} bytes")
            }
        }
    }
}

impl error::Error for GgufError {}
