//! safetensors and GGUF files, validated once, read without copying, written safely.
//!
//! Everything that a file claims is checked at the door, so that afterwards only "no such name" can fail:
//!
//! * [`Header`] parses and validates the head of a safetensors file; it needs only the first bytes and the file's
//!   length, so that a download can be placed and checked while it arrives;
//! * [`Checkpoint`] is a model folder (one file, or shards with an index), mapped or read, or the same from memory;
//! * [`write_safetensors`] and [`SafeFile`] never leave a half-written file behind;
//! * [`digest`] is the one definition of the weights digest;
//! * [`manifest`] lists the files of a model folder with their hashes.
//!
//! The crate knows no network and no numerics beyond exact dequantisation and the rounding to bfloat16.

#![deny(unsafe_code)]

mod checkpoint;
pub mod digest;
mod dtype;
mod entries;
pub mod gguf;
pub mod manifest;
mod object;
mod safe_file;
mod safetensors;

pub use checkpoint::{Access, Bytes, Checkpoint, CheckpointError, Part, Shard};
pub use dtype::{DType, to_bf16};
pub use object::Object;
pub use safe_file::{SafeFile, sync_folder_of};
pub use safetensors::{
    Header, MAX_HEADER_LEN, SafetensorsError, TensorInfo, TensorSource, WriteError, safetensors_bytes,
    write_safetensors,
};
