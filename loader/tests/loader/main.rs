//! Every way in which a file can be wrong, and what right files give.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod checkpoint;
mod digest;
mod gguf;
mod gguf_file;
mod manifest;
mod mutation;
mod safetensors;
mod write;

/// No file in these tests is larger than a few kilobytes, whatever it claims.
#[global_allocator]
static ALLOCATOR: cap::Cap<std::alloc::System> = cap::Cap::new(std::alloc::System, 64 << 20);

/// A safetensors file: the header's length, the header, and `data_len` bytes 0, 1, 2, ...
fn safetensors_file(header: &str, data_len: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.bytes());
    file.extend((0..data_len).map(|at| at as u8));
    file
}
