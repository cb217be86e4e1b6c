//! The safetensors format: `u64` header length, JSON header, then the tensors' bytes, little-endian.
//!
//! Follows the format's specification (huggingface/safetensors) and is stricter in nothing but names with control
//! characters, which could forge a line of the weights digest.

mod error;
mod header;
mod write;

pub use error::SafetensorsError;
pub use header::{Header, MAX_HEADER_LEN, TensorInfo};
pub use write::{TensorSource, WriteError, safetensors_bytes, write_safetensors};
