//! Receipts. What is accepted is the one spelling of its contents: another reader of the JSON writes the same bytes, which has
//! no nulls and no numbers but integers; a signature belongs to these bytes and to no others.

use std::sync::LazyLock;

use serde_json::Value;
use session::receipt::{MAX_BYTES, Receipt, SecretKey, SignatureState};

use crate::{Random, Seen, Target, mutate};

pub const TARGET: Target = Target {
    name: "receipt",
    cases,
    generate,
    run,
    outcomes: &[
        "generation",
        "training",
        "scoring",
        "aggregation",
        "private",
        "signature valid",
        "signature invalid",
        "Long",
        "Json",
        "Version",
        "NotCanonical",
        "Content",
    ],
    rare: &["Long"],
    runs: 10_000,
};

/// Receipts of the test vectors.
const VECTORS: [&[u8]; 12] = [
    include_bytes!("../../../../docs/vectors/receipts/greedy.json"),
    include_bytes!("../../../../docs/vectors/receipts/private.json"),
    include_bytes!("../../../../docs/vectors/receipts/signed.json"),
    include_bytes!("../../../../docs/vectors/receipts/stop.json"),
    include_bytes!("../../../../docs/vectors/receipts/stop-private.json"),
    include_bytes!("../../../../docs/vectors/receipts/training.json"),
    include_bytes!("../../../../docs/vectors/receipts/training-adapter.json"),
    include_bytes!("../../../../docs/vectors/receipts/training-private.json"),
    include_bytes!("../../../../docs/vectors/receipts/scoring.json"),
    include_bytes!("../../../../docs/vectors/receipts/scoring-private.json"),
    include_bytes!("../../../../docs/vectors/receipts/aggregation.json"),
    include_bytes!("../../../../docs/vectors/receipts/aggregation-receipts.json"),
];

/// The same as trees.
static TREES: LazyLock<Vec<Value>> =
    LazyLock::new(|| VECTORS.iter().map(|vector| serde_json::from_slice(vector).expect("a vector is JSON")).collect());

/// Names and texts that mean something.
const WORDS: [&str; 22] = [
    "generation",
    "training",
    "scoring",
    "aggregation",
    "signature",
    "format",
    "profile",
    "model",
    "adapter_sha256",
    "prompt_ids",
    "prompt_sha256",
    "token_ids",
    "token_ids_sha256",
    "data",
    "counted",
    "stop",
    "length",
    "adamw",
    "",
    "lockstep-receipt/1",
    "lockstep-receipt/2",
    "00000000",
];

fn cases() -> Vec<Vec<u8>> {
    let mut cases: Vec<Vec<u8>> = VECTORS.iter().map(|vector| vector.to_vec()).collect();
    cases.push(vec![b' '; MAX_BYTES + 1]);
    cases.push("[".repeat(100_000).into());
    cases.push(br#"{"format":"lockstep-receipt/1","x":"#.iter().copied().chain([b'['; 100_000]).collect());
    cases
}

fn generate(random: &mut Random) -> Vec<u8> {
    let vector = random.below(VECTORS.len());
    let mut input = VECTORS[vector].to_vec();
    match random.below(4) {
        0 => {}
        1 => {
            // One digit for another, which keeps the form.
            let at = random.below(input.len());
            if input[at].is_ascii_hexdigit() {
                input[at] = b"0123456789abcdef"[random.below(16)];
            }
        }
        _ => {
            let mut tree = TREES[vector].clone();
            for _ in 0..=random.below(2) {
                mutate::json(&mut tree, random, &WORDS);
                if random.once_in(4) && tree.is_object() {
                    // A version that is to come.
                    let (member, text) = [("format", "lockstep-receipt/2"), ("profile", "lockstep/2")][random.below(2)];
                    tree[member] = text.into();
                }
            }
            input = tree.to_string().into_bytes();
        }
    }
    if random.once_in(4) {
        mutate::bytes(&mut input, random, &[b"\"", b",", b"{", b"}", b" ", b"\n", b"null", b"\\u0041", b"1.0", b"-0"]);
    }
    input
}

fn run(bytes: &[u8], seen: &mut Seen) {
    let receipt = match Receipt::from_json(bytes) {
        Ok(receipt) => receipt,
        Err(error) => {
            assert!(error.to_string().len() > 10, "{error}");
            return seen.refused(&error);
        }
    };
    seen.note(receipt.kind());
    if receipt.is_private() {
        seen.note("private");
    }
    assert_eq!(receipt.to_json(), bytes);
    let tree: Value = serde_json::from_slice(bytes).expect("what is accepted is JSON");
    // This map's members are sorted, as those of canonical JSON are.
    assert_eq!(tree.to_string().as_bytes(), bytes);
    plain(&tree);
    match receipt.signature_state() {
        SignatureState::None => {}
        SignatureState::Valid(_) => seen.note("signature valid"),
        SignatureState::Invalid(_) => seen.note("signature invalid"),
    }
    // Signatures take longer than all else: some do.
    if bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>() % 16 == 0 {
        signed(receipt, tree);
    }
}

/// No nulls, and no numbers but integers from 0 on that every reader of JSON has exactly.
fn plain(tree: &Value) {
    match tree {
        Value::Null | Value::Bool(_) => panic!("a receipt has neither nulls nor truth values"),
        Value::Number(number) => assert!(number.as_u64().is_some_and(|number| number < 1 << 53), "{number}"),
        Value::String(_) => {}
        Value::Array(list) => list.iter().for_each(plain),
        Value::Object(object) => object.values().for_each(plain),
    }
}

/// A signature is accepted with the receipt that it is of, and with no other.
fn signed(receipt: Receipt, mut tree: Value) {
    let key = SecretKey::from_bytes(&[7; 32]);
    let signed = receipt.sign(&key);
    assert_eq!(signed.signature_state(), SignatureState::Valid(key.public_key()));
    let again = Receipt::from_json(&signed.to_json()).expect("what we write is accepted");
    assert_eq!(again, signed);
    // The same receipt with another transcript.
    let digits = tree["transcript_sha256"].as_str().expect("a digest").to_string();
    let other = if digits.starts_with('0') { "1" } else { "0" };
    tree["transcript_sha256"] = (other.to_string() + &digits[1..]).into();
    tree["signature"] = serde_json::from_slice::<Value>(&signed.to_json()).expect("JSON")["signature"].take();
    let changed =
        Receipt::from_json(tree.to_string().as_bytes()).expect("a transcript is not computed when it is read");
    assert_eq!(changed.signature_state(), SignatureState::Invalid(key.public_key()));
}
