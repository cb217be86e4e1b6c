//! What a result is known by: digests of logits, and the transcript that chains them.
//!
//! Every hashed field is prefixed by its length as a little-endian u64; token ids are little-endian u32.

use crate::generate::{GREEDY, Generation};
use alloc::string::String;
use alloc::vec::Vec;
use sha2::Digest;

/// The name and version of the numeric contract that this crate computes by.
pub const PROFILE: &str = "lockstep/1";

/// A SHA-256 digest.
pub type Sha256Digest = [u8; 32];

/// SHA-256 over bytes that arrive in pieces (FIPS 180-4).
#[derive(Clone, Default)]
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
    let mut bytes = [[0; 4]; 512];
    for part in logits.chunks(bytes.len()) {
        for (bytes, v) in bytes.iter_mut().zip(part) {
            let bits = if v.is_nan() { 0x7fc0_0000 } else { v.to_bits() };
            *bytes = bits.to_le_bytes();
        }
        hash.update(bytes[..part.len()].as_flattened());
    }
    hash.finish()
}

/// What a generation was computed with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The digest of the weights.
    pub weights: Sha256Digest,
    /// The digest of the adapter, where there is one.
    pub adapter: Option<Sha256Digest>,
    /// SHA-256 of the bytes of `tokenizer.json`.
    pub tokenizer: Sha256Digest,
}

/// The digest of a whole generation:
/// `h = SHA-256(profile, weights, adapter, tokenizer, prompt ids, sampler)`, then `h = SHA-256(h, token id, logits digest)`
/// for every step. The field of a missing adapter is empty.
pub fn transcript(identity: &Identity, generation: &Generation) -> Sha256Digest {
    let prompt: Vec<u8> = generation.prompt().iter().flat_map(|id| id.to_le_bytes()).collect();
    let mut start = Sha256::new();
    start.field(PROFILE.as_bytes());
    start.field(&identity.weights);
    start.field(identity.adapter.as_ref().map_or(&[], |digest| digest));
    start.field(&identity.tokenizer);
    start.field(&prompt);
    start.field(GREEDY.as_bytes());
    generation.steps().iter().fold(start.finish(), |h, step| {
        let mut next = Sha256::new();
        next.field(&h);
        next.field(&step.token_id.to_le_bytes());
        next.field(&step.logits_sha256);
        next.finish()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_gives_the_published_answer() {
        let mut hash = Sha256::new();
        hash.update(b"a");
        hash.update(b"bc");
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&hash.finish()), expected);
    }

    #[test]
    fn n9_all_nans_are_one() {
        let nans = [0x7fc0_0000, 0xffc0_0001, 0x7f80_0001, 0x7fff_ffff].map(f32::from_bits);
        assert!(nans.iter().all(|nan| logits_digest(&[1.0, *nan]) == logits_digest(&[1.0, nans[0]])));
        assert_ne!(logits_digest(&[1.0, f32::INFINITY]), logits_digest(&[1.0, nans[0]]));
        assert_ne!(logits_digest(&[0.0]), logits_digest(&[-0.0]));
    }

    #[test]
    fn a_logits_digest_is_that_of_the_bytes() {
        let logits: Vec<f32> = (0..1300).map(|i| i as f32 * 0.37 - 100.0).collect();
        let mut hash = Sha256::new();
        logits.iter().for_each(|v| hash.update(&v.to_le_bytes()));
        assert_eq!(logits_digest(&logits), hash.finish());
    }
}
