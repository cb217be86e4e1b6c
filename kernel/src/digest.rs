//! SHA-256 of logits and token ids.
//!
//! Every hashed field is prefixed by its length as a little-endian u64; token ids are little-endian u32.

use alloc::string::String;
use alloc::vec::Vec;
use sha2::Digest;

/// A SHA-256 digest.
pub type Sha256Digest = [u8; 32];

/// SHA-256 over bytes that arrive in pieces (FIPS 180-4).
#[derive(Clone, Default, Debug)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// The hash of nothing, so far.
    pub fn new() -> Sha256 {
        Sha256::default()
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Adds a field: its length, then its bytes.
    pub(crate) fn field(&mut self, bytes: &[u8]) {
        self.update(&(bytes.len() as u64).to_le_bytes());
        self.update(bytes);
    }

    /// Adds logits as little-endian binary32, every NaN as 0x7fc00000 (N9).
    pub(crate) fn logits(&mut self, logits: &[f32]) {
        let mut bytes = [[0; 4]; 512];
        for part in logits.chunks(bytes.len()) {
            for (bytes, v) in bytes.iter_mut().zip(part) {
                let bits = if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() };
                *bytes = bits.to_le_bytes();
            }
            self.update(bytes[..part.len()].as_flattened());
        }
    }

    /// The digest of all bytes.
    pub fn finish(self) -> Sha256Digest {
        self.0.finalize().into()
    }
}

/// A digest in lower-case hexadecimal.
pub fn hex(digest: &Sha256Digest) -> String {
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// SHA-256 over logits as little-endian binary32, every NaN as 0x7fc00000 (N9).
pub fn logits_digest(logits: &[f32]) -> Sha256Digest {
    let mut hash = Sha256::new();
    hash.logits(logits);
    hash.finish()
}

/// Token ids as they are hashed.
pub(crate) fn id_bytes(ids: &[u32]) -> Vec<u8> {
    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
}
