//! The weights digest: one value for the weights, whatever files they lie in.
//!
//! SHA-256 over one line per tensor, sorted by name (bytes), each `name dtype shape sha256` and a line feed: the dtype
//! as safetensors names it, the shape as JSON without spaces, the SHA-256 of the tensor's little-endian bytes in
//! lower-case hexadecimal. Example of a line: `model.norm.weight BF16 [576] b1c3…c5f4`. Names hold no control
//! characters (the parser refuses them) and the last three fields no spaces, so no two sets of tensors share the lines.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use crate::DType;

/// A SHA-256 digest.
pub type Sha256Digest = [u8; 32];

/// What the weights digest takes from one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorDigest {
    /// Name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Length of each axis, outermost first.
    pub shape: Vec<usize>,
    /// SHA-256 of the tensor's little-endian bytes.
    pub sha256: Sha256Digest,
}

/// The weights digest of these tensors, in any order.
pub fn weights_digest(tensors: impl IntoIterator<Item = TensorDigest>) -> Sha256Digest {
    let mut tensors: Vec<TensorDigest> = tensors.into_iter().collect();
    tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    let mut hash = Sha256::new();
    for TensorDigest { name, dtype, shape, sha256 } in tensors {
        let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
        hash.update(format!("{name} {dtype} [{}] {}\n", shape.join(","), hex(&sha256)));
    }
    hash.finalize().into()
}

/// The SHA-256 of `bytes`.
pub fn sha256(bytes: &[u8]) -> Sha256Digest {
    Sha256::digest(bytes).into()
}

/// The bytes as lower-case hexadecimal digits, two each.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The `N` bytes that twice as many lower-case hexadecimal digits stand for.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}
