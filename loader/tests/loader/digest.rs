//! The weights digest.

use loader::DType;
use loader::digest::{TensorDigest, from_hex, hex, sha256, weights_digest};

fn tensor(name: &str, shape: &[usize], bytes: &[u8]) -> TensorDigest {
    TensorDigest { name: name.to_owned(), dtype: DType::Bf16, shape: shape.to_vec(), sha256: sha256(bytes) }
}

#[test]
fn the_digest_is_the_hash_of_sorted_lines() {
    let (a, b) = (tensor("a", &[2, 3], b"x"), tensor("B", &[], b""));
    let lines = format!("B BF16 [] {}\na BF16 [2,3] {}\n", hex(&sha256(b"")), hex(&sha256(b"x")));
    let digest = weights_digest([a.clone(), b.clone()]);
    assert_eq!(hex(&digest), hex(&sha256(lines.as_bytes())));
    assert_eq!(digest, weights_digest([b, a]), "the order of the tensors does not matter");
}

#[test]
fn hexadecimal_is_read_as_it_is_written() {
    let digest = sha256(b"abc");
    let text = hex(&digest);
    assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_eq!(from_hex(&text), Some(digest));
    for wrong in [text.to_uppercase(), text[1..].to_owned(), format!("{text}0"), text.replace('b', "g")] {
        assert_eq!(from_hex::<32>(&wrong), None, "{wrong}");
    }
}
